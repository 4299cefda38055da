#ifndef TM_AGENT_ENGINE_POSTGRES_RECOVERY_CONF_H
#define TM_AGENT_ENGINE_POSTGRES_RECOVERY_CONF_H
/*
 * PostgreSQL configuration files, read and rewritten as text.
 *
 * conf_scan reads the syntax of postgresql.conf (name = value, quotes, comments, include lines).
 * conf_rewrite copies a file, changing or commenting out single lines and leaving all others as the
 * user wrote them. conf_block_* keep what a restore sets in one marked block at the end of
 * postgresql.auto.conf, so that it can be found, replaced and removed.
 *
 * Pure functions, thread safe.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

#define CONF_NAME_MAX  128
#define CONF_VALUE_MAX 4096

struct conf_line {
    struct slice text;          /* the whole line with its end, as in the file */
    char name[CONF_NAME_MAX];   /* lower case; empty: a comment, a blank line or not understood */
    char value[CONF_VALUE_MAX]; /* unquoted */
};
/* Goes on while fn returns 0. */
typedef int (*conf_line_fn)(void *arg, const struct conf_line *line, struct tm_err *err);
int conf_scan(struct slice file, conf_line_fn fn, void *arg, struct tm_err *err) TM_WUR;

/* The last assignment of `name`, or false. */
bool conf_find(struct slice file, const char *name, char *ret_value, size_t value_size);

/* Appends "name = 'value'\n" with quotes doubled; a newline in value is refused. */
int conf_append(struct buf *out, const char *name, const char *value, struct tm_err *err) TM_WUR;

/* "# tidemark <tag> begin" … "# tidemark <tag> end" */
int conf_block_begin(struct buf *out, const char *tag, const char *why, struct tm_err *err) TM_WUR;
int conf_block_end(struct buf *out, const char *tag, struct tm_err *err) TM_WUR;
/* Copies `file` without the block `tag`. */
int conf_block_remove(struct slice file, const char *tag, struct buf *out,
                      struct tm_err *err) TM_WUR;
/* A shell command that removes block `tag` from postgresql.auto.conf in the current directory and
 * leaves the file durable; for recovery_end_command. */
int conf_block_remove_command(struct buf *out, const char *tag, struct tm_err *err) TM_WUR;

#endif
