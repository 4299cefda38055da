#ifndef TM_AGENT_CLI_INTERNAL_H
#define TM_AGENT_CLI_INTERNAL_H
/*
 * What the sub-commands share. Not for others.
 */
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/err.h"
#include "common/size.h"
#include "common/storage/storage.h"
#include "proto/repo/logs.h"

#define CLI_USAGE 2 /* exit status for a wrong command line */

/* "tidemark-agent: <subject>: <message>" on stderr; the exit status that belongs to the error. */
int cli_fail(const char *subject, const struct tm_err *err);
/* A wrong command line: says what, and where help is. Returns CLI_USAGE. */
int cli_usage(const char *subject, const char *fmt, ...) TM_PRINTF(2, 3);

/* ---- command lines ---- */

/* Options that every command has; those of its own start at CLI_OPT_OWN, or are letters. */
enum { CLI_OPT_STORAGE = 256, CLI_OPT_SECRET, CLI_OPT_CLUSTER, CLI_OPT_TENANT, CLI_OPT_OWN };
#define CLI_OPTIONS                                                                                \
    {"storage", required_argument, NULL, CLI_OPT_STORAGE},                                         \
        {"secret-file", required_argument, NULL, CLI_OPT_SECRET},                                  \
        {"cluster", required_argument, NULL, CLI_OPT_CLUSTER},                                     \
        {"tenant", required_argument, NULL, CLI_OPT_TENANT},                                       \
    {                                                                                              \
        "help", no_argument, NULL, 'h'                                                             \
    }

struct cli_command {
    const char *subject;
    const char *help;
    const char *letters; /* "+:", then its short options as getopt wants them, with h */
    const struct option *options;
    /* Takes an option of its own (value in optarg). 0, or an exit status when it is wrong. */
    int (*take)(void *arg, int option);
    void *arg;
};

struct cli_where {
    const char *url;
    const char *secret_file; /* NULL = not given */
    const char *cluster;     /* NULL = not given */
    const char *tenant;
};

/*
 * Reads a command line; --storage must be there. 0 = go on with *ret, CLI_USAGE = a wrong one,
 * which was told, -1 = help was asked for and printed: the command ends with 0.
 */
int cli_parse(const struct cli_command *command, int argc, char **argv, struct cli_where *ret);

/* The value of -o in optarg, of which there is one: json. 0, or CLI_USAGE. */
int cli_take_output(const char *subject, bool *ret_json);
/* Prints and takes over what is to be told as JSON; NULL = memory was out when it was made. */
int cli_print_json(json_t *root, struct tm_err *err) TM_WUR;

/* Opens an existing repository for reading, with the credentials of secret_file (secret_map_load), or,
 * when that is NULL, the host's own. */
int cli_open(const char *url, const char *secret_file, struct storage **ret,
             struct tm_err *err) TM_WUR;

/* Calls fn for every cluster/tenant/incarnation of the repository; cluster, tenant NULL = all. */
typedef int (*cli_scope_fn)(void *arg, const struct repo_scope *scope, struct tm_err *err);
int cli_each_scope(struct storage *st, const char *cluster, const char *tenant, cli_scope_fn fn,
                   void *arg, struct tm_err *err) TM_WUR;

/* How the engine of this scope writes positions; as plain stream bytes when that is not known. */
int cli_positions(struct object_scratch *scratch, struct storage *st,
                  const struct repo_scope *scope, struct log_positions *ret,
                  struct tm_err *err) TM_WUR;

int cli_restore(int argc, char **argv);
int cli_list(int argc, char **argv);
int cli_search(int argc, char **argv);
int cli_verify(int argc, char **argv);
int cli_storage(int argc, char **argv);

#endif
