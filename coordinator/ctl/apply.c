/*
 * tidemark apply | edit | delete: what changes resources. The coordinator judges the YAML; here it is
 * only read. Failure modes: an unreadable file, a refused document (file:line:column), an editor that
 * fails (the text is kept and named).
 */
#include <fcntl.h>
#include <sys/wait.h>

#include "common/clock.h"
#include "common/fd.h"
#include "coordinator/ctl/command.h"
#include "proto/spec/status.h"

int source_read(const char *command, const char *file, struct buf *ret, struct tm_err *err)
{
    bool from_stdin = strcmp(file, "-") == 0;
    TM_CLEANUP(closep) int opened = from_stdin ? -1 : open(file, O_RDONLY | O_CLOEXEC);
    if (!from_stdin && opened < 0) {
        (void)tm_err_errno(err, errno, "%s: cannot read '%s'", command, file);
        err->code = TM_E_IO; /* the file is the user's, not something Tidemark did not find */
        return -(int)err->code;
    }
    int fd = from_stdin ? STDIN_FILENO : opened;
    for (;;) {
        int result = buf_reserve(ret, 65536, err);
        if (result < 0)
            return result;
        ssize_t got = read(fd, ret->data + ret->len, 65536);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            (void)tm_err_errno(err, errno, "%s: cannot read '%s'", command, file);
            err->code = TM_E_IO;
            return -(int)err->code;
        }
        if (got == 0)
            return 0;
        ret->len += (size_t)got;
        if (ret->len > CONTROL_YAML_MAX)
            return tm_err_set(err, TM_E_LIMIT, "%s: '%s' is longer than %zu bytes", command, file,
                              CONTROL_YAML_MAX);
    }
}

#define CONFLICT_TRIES 50
#define CONFLICT_NS    100000000 /* between tries: 5 seconds in all */

/* Another change of the same resource is just being written down: asking again helps. */
static bool in_conflict(const struct control_reply *reply)
{
    for (size_t n = 0; n < reply->results_count; n++) {
        const struct msg_error *error = reply->results[n].error;
        if (error != NULL && error->code == TM_E_CONFLICT && error->retryable)
            return true;
    }
    return false;
}

static void pause_conflict(void)
{
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = CONFLICT_NS}, NULL);
}

int results_print(struct ctl *c, const struct control_reply *reply, bool quiet, struct tm_err *err)
{
    int result = 0;
    for (size_t n = 0; n < reply->warnings_count; n++)
        (void)fprintf(c->err, "tidemark: warning: %s\n", reply->warnings[n]);
    for (size_t n = 0; n < reply->results_count; n++) {
        const struct control_result *one = &reply->results[n];
        if (one->error == NULL) {
            if (!quiet)
                (void)fprintf(c->out, "%s/%s %s\n", one->kind, one->name, one->outcome);
            continue;
        }
        struct tm_err own;
        msg_error_to(one->error, &own);
        if (result == 0) {
            *err = own;
            result = -(int)own.code;
        } else {
            (void)fprintf(c->err, "tidemark: %s\n", own.msg);
        }
    }
    return result;
}

/* Outcomes of documents that are done are kept over a repetition: what was created stays "created". */
static void keep_outcomes(struct control_reply *reply, char (*kept)[32])
{
    for (size_t n = 0; n < reply->results_count; n++) {
        struct control_result *one = &reply->results[n];
        if (one->error == NULL && kept[n][0] == '\0')
            (void)snprintf(kept[n], sizeof(kept[n]), "%s", one->outcome);
        memcpy(one->outcome, kept[n], sizeof(one->outcome));
    }
}

int apply_yaml(struct ctl *c, const char *source, struct slice yaml, bool quiet, struct tm_err *err)
{
    struct control_request request = {.command = CONTROL_APPLY, .source = source, .yaml = yaml};
    char kept[CONTROL_RESULTS_MAX][32] = {0};
    int result = ctl_connect(c, err);
    for (int tries = CONFLICT_TRIES; result == 0; tries--) {
        struct client_reply r;
        if ((result = client_call(c->client, &request, &r, err)) < 0)
            break;
        keep_outcomes(&r.reply, kept);
        bool again = tries > 0 && in_conflict(&r.reply);
        if (!again)
            result = results_print(c, &r.reply, quiet, err);
        client_reply_release(&r);
        if (!again)
            break;
        pause_conflict();
    }
    return result;
}

int apply_tested(struct ctl *c, const char *source, struct slice yaml, bool test,
                 struct tm_err *err)
{
    int result = test ? storage_check_new(c, source, yaml, err) : 0;
    return result < 0 ? result : apply_yaml(c, source, yaml, false, err);
}

static int run_apply(struct ctl *c, const struct command *self, const struct option_value *values,
                     const struct option_words *words)
{
    if (!values[0].given)
        return ctl_usage(c, self->name, "which file? -f FILE is missing");
    if (words->count > 0)
        return ctl_usage(c, self->name, "'%s' is one word too many", words->words[0]);
    TM_CLEANUP(buf_release) struct buf yaml = BUF_INIT;
    struct tm_err err;
    const char *file = values[0].text;
    if (source_read(self->name, file, &yaml, &err) < 0)
        return ctl_fail(c, &err);
    if (apply_tested(c, strcmp(file, "-") == 0 ? "<stdin>" : file, buf_slice(&yaml),
                     !values[1].given, &err) < 0)
        return ctl_fail(c, &err);
    return 0;
}

const struct command command_apply = {
    .name = "apply",
    .words = "-f FILE",
    .summary = "create or change what a YAML file describes",
    .detail = "Creates or changes the resources of FILE (many documents may stand in one), and\n"
              "prints backup/NAME created, configured or unchanged for each. A new log backup is\n"
              "applied only when the nodes of its cluster get into its storage (tidemark storage\n"
              "test); nodes that are not connected are passed over with a warning.\n\n"
              "  tidemark apply -f backup.yaml",
    .options =
        (const struct option_row[]){
            {.name = "filename", .letter = 'f', .value = "FILE", .help = "YAML; - is stdin"},
            {.name = "skip-test", .help = "do not test the storage of a new log backup"}},
    .option_count = 2,
    .run = run_apply,
};

int named_of(struct ctl *c, const char *command, const struct option_words *words,
             struct named *ret)
{
    char typed[64] = "";
    struct tm_err err;
    const char *slash = words->count == 1 ? strchr(words->words[0], '/') : NULL;
    if (words->count == 2) {
        (void)snprintf(typed, sizeof(typed), "%s", words->words[0]);
        ret->name = words->words[1];
    } else if (slash != NULL) {
        (void)snprintf(typed, sizeof(typed), "%.*s", (int)(slash - words->words[0]),
                       words->words[0]);
        ret->name = slash + 1;
    } else {
        (void)ctl_usage(c, command, "KIND and NAME are wanted");
        return -1;
    }
    if (kind_of(typed, &ret->kind, &ret->word, &err) < 0) {
        (void)ctl_usage(c, command, "%s", err.msg);
        return -1;
    }
    return 0;
}

#define GRACE_MAX_US (30 * USEC_PER_DAY)

static int request_change(struct ctl *c, struct control_request *request, bool quiet,
                          struct tm_err *err)
{
    int result = ctl_connect(c, err);
    for (int tries = CONFLICT_TRIES; result == 0; tries--) {
        struct client_reply r;
        if ((result = client_call(c->client, request, &r, err)) < 0)
            break;
        bool again = tries > 0 && in_conflict(&r.reply);
        if (!again)
            result = results_print(c, &r.reply, quiet, err);
        client_reply_release(&r);
        if (!again)
            break;
        pause_conflict();
    }
    return result;
}

static struct control_request named_request(enum control_command command, const char *kind,
                                            const char *namespace_, const char *name)
{
    struct control_request request = {.command = command};
    (void)snprintf(request.kind, sizeof(request.kind), "%s", kind);
    (void)snprintf(request.name, sizeof(request.name), "%s", name);
    (void)snprintf(request.namespace_, sizeof(request.namespace_), "%s",
                   namespace_ != NULL ? namespace_ : "");
    return request;
}

int resource_change(struct ctl *c, enum control_command command, const char *kind,
                    const char *namespace_, const char *name, bool quiet, struct tm_err *err)
{
    struct control_request request = named_request(command, kind, namespace_, name);
    return request_change(c, &request, quiet, err);
}

/* Bounded as cleanGrace is; a bare 0 is as good as 0s. */
static int grace_of(const char *text, uint32_t *ret_ms, struct tm_err *err)
{
    int64_t us = 0;
    int result = strcmp(text, "0") == 0 ? 0 : duration_parse(text, &us, err);
    if (result == 0 && (us < 0 || us > GRACE_MAX_US))
        result = tm_err_set(err, TM_E_INVALID, "%s is not in 0s to 30d", text);
    if (result == 0)
        *ret_ms = (uint32_t)(us / USEC_PER_MSEC);
    return result;
}

static int delete_named(struct ctl *c, const struct command *self, const struct named *named,
                        const char *namespace_, const char *grace)
{
    struct control_request request =
        named_request(CONTROL_DELETE, named->kind, namespace_, named->name);
    struct tm_err err;
    if (grace != NULL && strcmp(named->word, "backup") != 0)
        return ctl_usage(c, self->name, "--grace is for backups");
    request.has_grace = grace != NULL;
    if (grace != NULL && grace_of(grace, &request.grace_ms, &err) < 0)
        return ctl_usage(c, self->name, "--grace: %s", err.msg);
    return request_change(c, &request, false, &err) < 0 ? ctl_fail(c, &err) : 0;
}

static int run_delete(struct ctl *c, const struct command *self, const struct option_value *values,
                      const struct option_words *words)
{
    struct named named;
    const char *secret = secret_named(words);
    if (secret != NULL && values[2].given)
        return ctl_usage(c, self->name, "--grace is for backups");
    if (secret != NULL)
        return secret_delete(c, secret, values[1].given);
    if (named_of(c, self->name, words, &named) < 0)
        return CTL_STATUS_USAGE;
    if (values[1].given)
        return ctl_usage(c, self->name, "--force is for secrets");
    return delete_named(c, self, &named, values[0].text, values[2].given ? values[2].text : NULL);
}

const struct command command_delete = {
    .name = "delete",
    .words = "KIND NAME",
    .summary = "remove a resource; its cleanPolicy says what becomes of the data",
    .detail =
        "Removes a resource. cleanPolicy Retain (the default) keeps what lies in storage,\n"
        "Delete removes it, OnFailure removes it when the backup failed. What is removed is\n"
        "gone for everybody at once; its objects stay for cleanGrace, or --grace, for a\n"
        "restore that reads them already, and the backup is shown as Deleting until then.\n"
        "Said again with another --grace, that one counts. A secret that a resource names is\n"
        "removed with --force only.\n\n"
        "  tidemark delete backup nightly-3\n"
        "  tidemark delete backup nightly-3 --grace 0\n"
        "  tidemark delete secret s3-secret",
    .options =
        (const struct option_row[]){
            NAMESPACE_OPTION,
            {.name = "force", .help = "a secret, though a resource names it"},
            {.name = "grace",
             .value = "TIME",
             .help = "a backup's objects stay so long; 0 = they go at once; default cleanGrace"}},
    .option_count = 3,
    .run = run_delete,
};

static int run_retry(struct ctl *c, const struct command *self, const struct option_value *values,
                     const struct option_words *words)
{
    struct named named;
    if (named_of(c, self->name, words, &named) < 0)
        return CTL_STATUS_USAGE;
    struct tm_err err;
    return resource_change(c, CONTROL_RETRY, named.kind, values[0].text, named.name, false, &err) <
                   0
               ? ctl_fail(c, &err)
               : 0;
}

const struct command command_retry = {
    .name = "retry",
    .words = "KIND NAME",
    .summary = "let a Failed resource start over",
    .detail = "Starts a Failed backup or restore over with the spec it has; a backup that was\n"
              "interrupted goes on where it stopped, when it can. A log backup that is Fail goes\n"
              "on; one whose truncation was refused truncates again.\n\n"
              "  tidemark retry backup nightly-3",
    .options = (const struct option_row[]){NAMESPACE_OPTION},
    .option_count = 1,
    .run = run_retry,
};

/* ---- edit ---- */

#define EDITOR_MAX 1000

static int run_editor(const char *path, struct tm_err *err)
{
    const char *editor = getenv("VISUAL");
    if (editor == NULL || editor[0] == '\0')
        editor = getenv("EDITOR");
    if (editor == NULL || editor[0] == '\0')
        editor = "vi";
    /* the editor is a piece of shell ("code -w"), as for git; the path stays one word */
    char command[EDITOR_MAX + 8];
    if (strlen(editor) > EDITOR_MAX)
        return tm_err_set(err, TM_E_INVALID, "edit: $EDITOR is longer than %d bytes", EDITOR_MAX);
    (void)snprintf(command, sizeof(command), "%s \"$1\"", editor);
    pid_t pid = fork();
    if (pid < 0)
        return tm_err_errno(err, errno, "edit: cannot start '%s'", editor);
    if (pid == 0) {
        (void)execl("/bin/sh", "sh", "-c", command, "sh", path, (char *)NULL);
        _exit(127);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return tm_err_set(err, TM_E_CANCELED, "edit: '%s' failed; nothing is changed", editor);
    return 0;
}

int resource_fetch(struct ctl *c, const char *kind, const char *namespace_, const char *name,
                   json_t **ret, struct tm_err *err)
{
    int result = ctl_connect(c, err);
    return result < 0 ? result
                      : client_get(c->client, CONTROL_GET, kind, namespace_, name, ret, err);
}

void resource_strip(json_t *resource)
{
    (void)json_object_del(resource, "status");
    json_t *metadata = json_object_get(resource, "metadata");
    static const char *const added[] = {"uid", "generation", "creationTimestamp"};
    for (size_t n = 0; n < TM_ARRAY_LEN(added); n++)
        (void)json_object_del(metadata, added[n]);
}

static int editable_yaml(struct ctl *c, const struct named *named, const char *namespace_,
                         struct buf *ret, struct tm_err *err)
{
    json_t *resource;
    int result = resource_fetch(c, named->kind, namespace_, named->name, &resource, err);
    if (result < 0)
        return result;
    resource_strip(resource);
    char *text = json_dumps(resource, JSON_COMPACT);
    json_decref(resource);
    result = text == NULL ? tm_err_oom(err) : json_to_yaml(slice_str(text), ret, err);
    free(text);
    return result;
}

static int edit_file(struct ctl *c, const char *path, int fd, struct slice before,
                     struct tm_err *err)
{
    int result = fd_write_full(fd, before.data, before.len, path, err);
    if (result < 0 || (result = run_editor(path, err)) < 0)
        return result;
    TM_CLEANUP(buf_release) struct buf after = BUF_INIT;
    if ((result = source_read("edit", path, &after, err)) < 0)
        return result;
    if (slice_eq(before, buf_slice(&after))) {
        (void)fprintf(c->out, "nothing is changed\n");
        return 0;
    }
    return apply_yaml(c, path, buf_slice(&after), false, err);
}

static int run_edit(struct ctl *c, const struct command *self, const struct option_value *values,
                    const struct option_words *words)
{
    struct named named;
    struct tm_err err;
    if (named_of(c, self->name, words, &named) < 0)
        return CTL_STATUS_USAGE;
    TM_CLEANUP(buf_release) struct buf yaml = BUF_INIT;
    if (editable_yaml(c, &named, values[0].text, &yaml, &err) < 0)
        return ctl_fail(c, &err);
    char path[] = "/tmp/tidemark-edit-XXXXXX.yaml";
    TM_CLEANUP(closep) int fd = mkostemps(path, 5, O_CLOEXEC);
    if (fd < 0) {
        (void)tm_err_errno(&err, errno, "edit: cannot make a file in /tmp");
        return ctl_fail(c, &err);
    }
    if (edit_file(c, path, fd, buf_slice(&yaml), &err) < 0) {
        int status = ctl_fail(c, &err);
        (void)fprintf(c->err, "tidemark: edit: your text is kept in %s\n", path);
        return status;
    }
    (void)unlink(path);
    return 0;
}

const struct command command_edit = {
    .name = "edit",
    .words = "KIND NAME",
    .summary = "change a resource in $EDITOR",
    .detail = "Opens the resource in $VISUAL, $EDITOR or vi, and applies what was saved.\n\n"
              "  tidemark edit backup nightly-3",
    .options = (const struct option_row[]){NAMESPACE_OPTION},
    .option_count = 1,
    .run = run_edit,
};
