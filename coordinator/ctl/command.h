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

#define COMMAND_OPTIONS_MAX 32

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

extern const struct command command_apply, command_create, command_get, command_describe,
    command_delete, command_edit, command_wait, command_retry, command_backup, command_restore,
    command_log, command_storage, command_rebuild, command_nodes, command_top, command_version;

/* Connects on first use. */
int ctl_connect(struct ctl *c, struct tm_err *err) TM_WUR;

/* A value inside nested objects, "status.progress.rangesDone"; NULL when it is not there. */
const json_t *json_at(const json_t *value, const char *path);
/* Its text, or "" */
const char *json_text_at(const json_t *value, const char *path);
uint64_t json_u64_at(const json_t *value, const char *path);
/* A resource of backupMode log. */
bool json_is_log(const json_t *resource);

/* The kind for a word of the user, said in the coordinator's words. */
int kind_of(const char *word, const char **ret_kind, const char **ret_word, struct tm_err *err);

/* rebuild.c: says on stderr when the coordinator's state may lack something. */
int doubt_warn(struct ctl *c, struct tm_err *err) TM_WUR;

/* Sends YAML and prints "backup/NAME created" for each; warnings go to stderr. */
int apply_yaml(struct ctl *c, const char *source, struct slice yaml, bool quiet,
               struct tm_err *err) TM_WUR;

/* The same, but first a log backup that would be new is tried out: when a node cannot get into its
 * storage it is not applied (TM_E_REFUSED), and the table is on stderr. Without `test` as above. */
int apply_tested(struct ctl *c, const char *source, struct slice yaml, bool test,
                 struct tm_err *err) TM_WUR;
/* All of a file, "-" is stdin. `command` starts the error. */
int source_read(const char *command, const char *file, struct buf *ret, struct tm_err *err) TM_WUR;

/* storage.c: TM_E_REFUSED when a new log backup among the documents must not be applied. */
int storage_check_new(struct ctl *c, const char *source, struct slice yaml,
                      struct tm_err *err) TM_WUR;

/* Says what became of each resource, "backup/NAME created", and warnings on stderr; the first error is
 * the call's. */
int results_print(struct ctl *c, const struct control_reply *reply, bool quiet,
                  struct tm_err *err) TM_WUR;

/* secret.c: secrets in commands that are about resources else. Each returns the exit status. */
bool secret_word(const char *word);                         /* "secret" or "secrets" */
const char *secret_named(const struct option_words *words); /* NULL: it is about something else */
int secret_get(struct ctl *c, const char *name, const char *form); /* name NULL = all */
int secret_describe(struct ctl *c, const char *name);
int secret_delete(struct ctl *c, const char *name, bool force);

/* words.c: option values into a spec, under `key`; what was not given is left out. */
int spec_text(json_t *object, const char *key, const struct option_value *value,
              struct tm_err *err) TM_WUR;
int spec_number(json_t *object, const char *key, const struct option_value *value,
                struct tm_err *err) TM_WUR;
int spec_flag(json_t *object, const char *key, const struct option_value *value,
              struct tm_err *err) TM_WUR;
int spec_pairs(json_t *object, const char *key, const struct option_value *value,
               struct tm_err *err) TM_WUR; /* KEY=VALUE words */
/* Its storage block; secret NULL = none is named. */
int spec_storage(const char *url, const char *secret, json_t *spec, struct tm_err *err) TM_WUR;
/* A resource around the spec, which is taken over, as YAML; to be freed. namespace_ may be NULL. */
int spec_resource(const char *kind, const char *name, const char *namespace_, json_t *spec,
                  char **ret, struct tm_err *err) TM_WUR;
enum apply_how {
    APPLY_PLAIN,
    APPLY_QUIET,  /* "created" is not printed */
    APPLY_TESTED, /* as apply_tested */
};
/* The same, applied. */
int spec_apply(struct ctl *c, const char *kind, const char *word, const char *name,
               const char *namespace_, json_t *spec, enum apply_how how, struct tm_err *err) TM_WUR;

/* get.c: the resources of a kind, an array that is handed over; namespace_ NULL = of all. */
int resource_list(struct ctl *c, const char *kind, const char *namespace_, json_t **ret,
                  struct tm_err *err) TM_WUR;
/* As people read it, a line feed behind it. */
int json_print(struct ctl *c, const json_t *value, struct tm_err *err) TM_WUR;
int value_print(struct ctl *c, const json_t *value, bool yaml, struct tm_err *err) TM_WUR;

/* A resource as it is, and one as an operator may change it: without what the coordinator adds. */
int resource_fetch(struct ctl *c, const char *kind, const char *namespace_, const char *name,
                   json_t **ret, struct tm_err *err) TM_WUR;
void resource_strip(json_t *resource);
/* One change of one resource, said on c->out unless quiet; asked again when another is under way. */
int resource_change(struct ctl *c, enum control_command command, const char *kind,
                    const char *namespace_, const char *name, bool quiet,
                    struct tm_err *err) TM_WUR;
/* All that is known, in words. */
void describe_resource(struct ctl *c, const json_t *resource);

/* dry_run.c: what the restore of `spec` (taken over) would do, asked and printed; nothing is written and
 * no resource stays. `json` as `tidemark-agent restore --dry-run` prints it. */
int restore_dry_run(struct ctl *c, const char *name, json_t *spec, const char *data_dir, bool json,
                    struct tm_err *err) TM_WUR;

/* log_query.c: what the stored log of a task holds, and what a truncation would take; printed.
 * log_time: a time that was given, and no position. */
struct log_task {
    const char *namespace_; /* may be NULL */
    const char *name;
    const char *tenant; /* NULL: the task is of one */
};
int log_time(const struct option_value *value, int64_t *ret_us, struct tm_err *err) TM_WUR;
int log_search(struct ctl *c, const struct log_task *task, struct msg_log_query *query, bool json,
               struct tm_err *err) TM_WUR;
int log_truncate_try(struct ctl *c, const struct log_task *task, const char *until, bool force,
                     struct tm_err *err) TM_WUR;

/* tenants.c: a list in which a resource of several tenants is followed by, or else replaced by, one for each:
 * with its name and spec, that tenant's status, and "part", the tenant. Handed over. */
int tenants_split(const json_t *resources, bool with_whole, json_t **ret,
                  struct tm_err *err) TM_WUR;

/* log.c: the checkpoint of each cluster that has log backups, from a list of resources: an array of
 * {cluster, logCheckpointTs, latencySeconds, tenants}, a cluster's being the minimum of its tenants'.
 * NULL when memory is out. */
json_t *log_clusters(const json_t *resources);
void log_clusters_print(struct ctl *c, const json_t *clusters);
/* A row for each log backup, taken apart by tenants. */
int log_table_print(struct ctl *c, const json_t *logs, struct tm_err *err) TM_WUR;

/* nodes.c: {"items": …}, as people read it. */
int items_print(struct ctl *c, const json_t *items, struct tm_err *err) TM_WUR;
/* holds.c: the log that is kept for backups at the sources of these nodes. */
int holds_print(struct ctl *c, const json_t *nodes, bool json, struct tm_err *err) TM_WUR;

/*
 * Follows a resource until it reaches `phase` (0), cannot reach it any more or `timeout_us` is over
 * (negative, with the reason; -1 = no limit). With `show` progress is told on c->out: a bar on a terminal, lines else.
 */
struct follow_what {
    const char *kind, *word, *name;
    const char *namespace_; /* NULL = default, or the only one */
    const char *phase;
    bool fail_ends; /* Fail is the end, too: a log backup may come out of it, later */
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
