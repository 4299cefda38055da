#ifndef TM_COORDINATOR_CTL_COMMAND_H
#define TM_COORDINATOR_CTL_COMMAND_H
/*
 * What a command of the CLI is, and what its files share. A run function returns the exit status and
 * has said on stderr what went wrong (ctl_fail, ctl_usage).
 */
#include <jansson.h>

#include "coordinator/ctl/client.h"
#include "coordinator/ctl/ctl.h"
#include "coordinator/ctl/options.h"

#define COMMAND_OPTIONS_MAX 24

struct command {
    const char *name;
    const char *words;   /* after the name in the usage line: "KIND [NAME]" */
    const char *summary; /* one line of `tidemark --help` */
    const char *detail;  /* below the usage: what it does, an example */
    const struct option_row *options;
    size_t option_count;
    int (*run)(struct ctl *c, const struct command *self, const struct option_value *values,
               const struct option_words *words);
};

extern const struct command command_apply, command_get, command_describe, command_delete,
    command_edit, command_wait, command_retry, command_backup, command_restore, command_nodes,
    command_top, command_version;

/* Connects on first use. */
int ctl_connect(struct ctl *c, struct tm_err *err) TM_WUR;

/* A value inside nested objects, "status.progress.rangesDone"; NULL when it is not there. */
const json_t *json_at(const json_t *value, const char *path);
/* Its text, or "" */
const char *json_text_at(const json_t *value, const char *path);
uint64_t json_u64_at(const json_t *value, const char *path);

/* The kind for a word of the user, said in the coordinator's words. */
int kind_of(const char *word, const char **ret_kind, const char **ret_word, struct tm_err *err);

/* Sends YAML and prints "backup/NAME created" for each; warnings go to stderr. */
int apply_yaml(struct ctl *c, const char *source, struct slice yaml, bool quiet,
               struct tm_err *err) TM_WUR;

/*
 * Follows a resource until it reaches `phase` (0), cannot reach it any more or `timeout_us` is over
 * (negative, with the reason; -1 = no limit). With `show` progress is told on c->out: a bar on a terminal, lines else.
 */
struct follow_what {
    const char *kind, *word, *name;
    const char *namespace_; /* NULL = default, or the only one */
    const char *phase;
};
int follow(struct ctl *c, const struct follow_what *what, int64_t timeout_us, bool show,
           struct tm_err *err) TM_WUR;

/* "KIND NAME" or "KIND/NAME", as it is printed; usage errors are said, and -1 returned. */
struct named {
    const char *kind; /* "Backup" */
    const char *word; /* "backup" */
    const char *name;
};
int named_of(struct ctl *c, const char *command, const struct option_words *words,
             struct named *ret) TM_WUR;

#define NAMESPACE_OPTION                                                                           \
    {                                                                                              \
        .name = "namespace", .letter = 'n', .value = "NS",                                         \
        .help = "default: 'default', or the only one with this name"                               \
    }

#endif
