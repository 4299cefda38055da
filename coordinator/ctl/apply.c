/*
 * tidemark apply | edit | delete: what changes resources. The coordinator judges the YAML; here it is
 * only read. Failure modes: an unreadable file, a refused document (file:line:column), an editor that
 * fails (the text is kept and named).
 */
#include <fcntl.h>
#include <sys/wait.h>

#include "common/fd.h"
#include "coordinator/ctl/command.h"
#include "proto/spec/status.h"

static int read_source(const char *file, struct buf *ret, struct tm_err *err)
{
    bool from_stdin = strcmp(file, "-") == 0;
    TM_CLEANUP(closep) int opened = from_stdin ? -1 : open(file, O_RDONLY | O_CLOEXEC);
    if (!from_stdin && opened < 0) {
        (void)tm_err_errno(err, errno, "apply: cannot read '%s'", file);
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
            (void)tm_err_errno(err, errno, "apply: cannot read '%s'", file);
            err->code = TM_E_IO;
            return -(int)err->code;
        }
        if (got == 0)
            return 0;
        ret->len += (size_t)got;
        if (ret->len > CONTROL_YAML_MAX)
            return tm_err_set(err, TM_E_LIMIT, "apply: '%s' is longer than %zu bytes", file,
                              CONTROL_YAML_MAX);
    }
}

static int print_results(struct ctl *c, const struct control_reply *reply, bool quiet,
                         struct tm_err *err)
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

int apply_yaml(struct ctl *c, const char *source, struct slice yaml, bool quiet, struct tm_err *err)
{
    int result = ctl_connect(c, err);
    if (result < 0)
        return result;
    struct control_request request = {.command = CONTROL_APPLY, .source = source, .yaml = yaml};
    struct client_reply r;
    if ((result = client_call(c->client, &request, &r, err)) < 0)
        return result;
    result = print_results(c, &r.reply, quiet, err);
    client_reply_release(&r);
    return result;
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
    if (read_source(file, &yaml, &err) < 0 ||
        apply_yaml(c, strcmp(file, "-") == 0 ? "<stdin>" : file, buf_slice(&yaml), false, &err) < 0)
        return ctl_fail(c, &err);
    return 0;
}

const struct command command_apply = {
    .name = "apply",
    .words = "-f FILE",
    .summary = "create or change what a YAML file describes",
    .detail = "Creates or changes the resources of FILE (many documents may stand in one), and\n"
              "prints backup/NAME created, configured or unchanged for each.\n\n"
              "  tidemark apply -f backup.yaml",
    .options =
        (const struct option_row[]){
            {.name = "filename", .letter = 'f', .value = "FILE", .help = "YAML; - is stdin"}},
    .option_count = 1,
    .run = run_apply,
};

/* KIND NAME, or KIND/NAME as it is printed */
static int kind_and_name(const struct option_words *words, char ret_kind[64], const char **ret_name)
{
    if (words->count == 2) {
        (void)snprintf(ret_kind, 64, "%s", words->words[0]);
        *ret_name = words->words[1];
        return 0;
    }
    const char *slash = words->count == 1 ? strchr(words->words[0], '/') : NULL;
    if (slash == NULL)
        return -1;
    (void)snprintf(ret_kind, 64, "%.*s", (int)(slash - words->words[0]), words->words[0]);
    *ret_name = slash + 1;
    return 0;
}

static int run_delete(struct ctl *c, const struct command *self, const struct option_value *values,
                      const struct option_words *words)
{
    char typed[64];
    const char *name;
    const char *kind;
    const char *word;
    struct tm_err err;
    if (kind_and_name(words, typed, &name) < 0)
        return ctl_usage(c, self->name, "KIND and NAME are wanted");
    if (kind_of(typed, &kind, &word, &err) < 0)
        return ctl_usage(c, self->name, "%s", err.msg);
    if (ctl_connect(c, &err) < 0)
        return ctl_fail(c, &err);
    struct control_request request = {.command = CONTROL_DELETE};
    (void)snprintf(request.kind, sizeof(request.kind), "%s", kind);
    (void)snprintf(request.name, sizeof(request.name), "%s", name);
    (void)snprintf(request.namespace_, sizeof(request.namespace_), "%s",
                   values[0].given ? values[0].text : "");
    struct client_reply r;
    if (client_call(c->client, &request, &r, &err) < 0)
        return ctl_fail(c, &err);
    int result = print_results(c, &r.reply, false, &err);
    client_reply_release(&r);
    return result < 0 ? ctl_fail(c, &err) : 0;
}

const struct command command_delete = {
    .name = "delete",
    .words = "KIND NAME",
    .summary = "remove a resource; its cleanPolicy says what becomes of the data",
    .detail = "Removes a resource. cleanPolicy Retain (the default) keeps what lies in storage,\n"
              "Delete removes it, OnFailure removes it when the backup failed.\n\n"
              "  tidemark delete backup nightly-3",
    .options =
        (const struct option_row[]){
            {.name = "namespace", .letter = 'n', .value = "NS", .help = "default: default"}},
    .option_count = 1,
    .run = run_delete,
};

/* ---- edit */

static int run_editor(const char *path, struct tm_err *err)
{
    const char *editor = getenv("VISUAL");
    if (editor == NULL || editor[0] == '\0')
        editor = getenv("EDITOR");
    if (editor == NULL || editor[0] == '\0')
        editor = "vi";
    pid_t pid = fork();
    if (pid < 0)
        return tm_err_errno(err, errno, "edit: cannot start '%s'", editor);
    if (pid == 0) {
        /* the editor may be words ("code -w"), so a shell splits them; the path stays one word */
        (void)execl("/bin/sh", "sh", "-c", "exec $0 \"$1\"", editor, path, (char *)NULL);
        _exit(127);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return tm_err_set(err, TM_E_CANCELED, "edit: '%s' failed; nothing is changed", editor);
    return 0;
}

/* What an operator may change, without what the coordinator adds. */
static int editable_yaml(struct ctl *c, const char *kind, const char *name, struct buf *ret,
                         struct tm_err *err)
{
    json_t *resource;
    int result = client_get(c->client, CONTROL_GET, kind, NULL, name, &resource, err);
    if (result < 0)
        return result;
    (void)json_object_del(resource, "status");
    json_t *metadata = json_object_get(resource, "metadata");
    static const char *const added[] = {"uid", "generation", "creationTimestamp"};
    for (size_t n = 0; n < TM_ARRAY_LEN(added); n++)
        (void)json_object_del(metadata, added[n]);
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
    if ((result = read_source(path, &after, err)) < 0)
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
    (void)values;
    char typed[64];
    const char *name;
    const char *kind;
    const char *word;
    struct tm_err err;
    if (kind_and_name(words, typed, &name) < 0)
        return ctl_usage(c, self->name, "KIND and NAME are wanted");
    if (kind_of(typed, &kind, &word, &err) < 0)
        return ctl_usage(c, self->name, "%s", err.msg);
    TM_CLEANUP(buf_release) struct buf yaml = BUF_INIT;
    if (ctl_connect(c, &err) < 0 || editable_yaml(c, kind, name, &yaml, &err) < 0)
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
    .run = run_edit,
};
