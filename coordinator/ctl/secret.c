/*
 * tidemark create secret, and secrets in get, describe and delete.
 *
 * A literal stands in argv by the user's own will; a file or stdin keeps it out of there. Values go to
 * the coordinator and never come back. Failure modes: a pair that is none (not quoted: it may be the
 * value), a file that cannot be read, a key twice, a value that is too long.
 */
#include <fcntl.h>

#include "common/fd.h"
#include "coordinator/ctl/command.h"
#include "coordinator/ctl/table.h"

bool secret_word(const char *word)
{
    return strcasecmp(word, "secret") == 0 || strcasecmp(word, "secrets") == 0;
}

/* "secret NAME" or "secret/NAME"; NULL: it is about something else. */
const char *secret_named(const struct option_words *words)
{
    if (words->count == 2 && secret_word(words->words[0]))
        return words->words[1];
    if (words->count == 1 && strncasecmp(words->words[0], "secret/", 7) == 0)
        return words->words[0] + 7;
    return NULL;
}

/* ---- create ---- */

struct values {
    struct msg_pair pairs[WIRE_PAIRS_MAX];
    size_t count;
    struct codec_arena arena; /* what files hold */
};

static void values_release(struct values *v)
{
    codec_arena_release(&v->arena);
    *v = (struct values){.count = 0};
}

static int add_pair(struct values *v, const char *key, size_t key_len, struct slice value,
                    struct tm_err *err)
{
    struct msg_pair *pair = &v->pairs[v->count];
    if (v->count == WIRE_PAIRS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "a secret has at most %d keys", WIRE_PAIRS_MAX);
    if (key_len == 0 || key_len >= sizeof(pair->name))
        return tm_err_set(err, TM_E_INVALID, "a key must have 1 to %zu characters",
                          sizeof(pair->name) - 1);
    if (value.len > WIRE_VALUE_MAX)
        return tm_err_set(err, TM_E_LIMIT, "key '%.*s': the value is longer than %d bytes",
                          (int)key_len, key, WIRE_VALUE_MAX);
    (void)snprintf(pair->name, sizeof(pair->name), "%.*s", (int)key_len, key);
    pair->value = value;
    v->count++;
    return 0;
}

static int add_literal(struct values *v, const char *text, struct tm_err *err)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL) /* not quoted: it may be the value */
        return tm_err_set(err, TM_E_INVALID, "--from-literal wants KEY=VALUE, with an equals sign");
    return add_pair(v, text, (size_t)(equals - text), slice_str(equals + 1), err);
}

static int read_value(struct values *v, const char *path, struct slice *ret, struct tm_err *err)
{
    bool from_stdin = strcmp(path, "-") == 0;
    TM_CLEANUP(closep) int opened = from_stdin ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    uint8_t bytes[WIRE_VALUE_MAX + 3];
    size_t len = 0;
    if (!from_stdin && opened < 0) {
        (void)tm_err_errno(err, errno, "cannot read '%s'", path);
        err->code = TM_E_IO; /* the file is the user's, not something Tidemark did not find */
        return -(int)err->code;
    }
    int r = fd_read_some(from_stdin ? STDIN_FILENO : opened, bytes, sizeof(bytes), &len, path, err);
    if (r == 0 && len > 0 && bytes[len - 1] == '\n') /* editors add one; no credential ends so */
        len--;
    if (r == 0 && len > 0 && bytes[len - 1] == '\r')
        len--;
    if (r == 0 && len > WIRE_VALUE_MAX)
        r = tm_err_set(err, TM_E_LIMIT, "'%s' is longer than %d bytes", path, WIRE_VALUE_MAX);
    if (r == 0)
        r = codec_arena_bytes(&v->arena, slice_of(bytes, len), ret, err);
    explicit_bzero(bytes, sizeof(bytes));
    return r;
}

/* "key=PATH", "key=-", or PATH, whose last part is the key. */
static int add_file(struct values *v, const char *text, struct tm_err *err)
{
    const char *equals = strchr(text, '=');
    const char *path = equals != NULL ? equals + 1 : text;
    const char *slash = strrchr(path, '/');
    const char *key = equals != NULL ? text : slash != NULL ? slash + 1 : path;
    size_t key_len = equals != NULL ? (size_t)(equals - text) : strlen(key);
    struct slice value = SLICE_EMPTY;
    if (equals == NULL && strcmp(path, "-") == 0)
        return tm_err_set(err, TM_E_INVALID, "--from-file - wants a key: --from-file KEY=-");
    int r = read_value(v, path, &value, err);
    return r < 0 ? r : add_pair(v, key, key_len, value, err);
}

static int take_values(const struct option_value *values, struct values *v, struct tm_err *err)
{
    int r = 0;
    for (size_t n = 0; r == 0 && n < values[0].count; n++)
        r = add_literal(v, values[0].all[n], err);
    for (size_t n = 0; r == 0 && n < values[1].count; n++)
        r = add_file(v, values[1].all[n], err);
    return r;
}

static int send_change(struct ctl *c, struct control_request *request, struct tm_err *err)
{
    struct client_reply reply;
    int r = ctl_connect(c, err);
    if (r < 0 || (r = client_call(c->client, request, &reply, err)) < 0)
        return r;
    r = results_print(c, &reply.reply, false, err);
    client_reply_release(&reply);
    return r;
}

static int take_name(struct control_request *request, const char *name, struct tm_err *err)
{
    if (strlen(name) >= sizeof(request->name))
        return tm_err_set(err, TM_E_INVALID, "secret: name '%.64s' is longer than %zu bytes", name,
                          sizeof(request->name) - 1);
    (void)snprintf(request->name, sizeof(request->name), "%s", name);
    return 0;
}

static int run_create(struct ctl *c, const struct command *self, const struct option_value *values,
                      const struct option_words *words)
{
    TM_CLEANUP(values_release) struct values v = {.arena = {.wipe = true}};
    struct tm_err err;
    struct control_request request = {.command = CONTROL_SECRET_PUT};
    if (words->count > 0 && !secret_word(words->words[0]))
        return ctl_usage(c, self->name,
                         "only secrets are created so; a resource is applied from a file");
    if (words->count != 2)
        return ctl_usage(c, self->name, "'secret' and a NAME are wanted");
    if (values[0].count + values[1].count == 0)
        return ctl_usage(c, self->name, "what it holds is missing: --from-literal or --from-file");
    if (take_name(&request, words->words[1], &err) < 0 || take_values(values, &v, &err) < 0) {
        (void)tm_err_prefix(&err, "create");
        return ctl_fail(c, &err);
    }
    request.pairs = v.pairs;
    request.pairs_count = v.count;
    return send_change(c, &request, &err) < 0 ? ctl_fail(c, &err) : 0;
}

const struct command command_create = {
    .name = "create",
    .words = "secret NAME",
    .summary = "store credentials that specs name with secretName",
    .detail =
        "Stores credentials with the coordinator, under a name that specs give as secretName. One\n"
        "of that name is replaced; agents that use it are told. Keys are access_key, secret_key "
        "and\n"
        "session_token for S3, AZURE_STORAGE_ACCOUNT, AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN "
        "or\n"
        "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET for Azure.\n\n"
        "  tidemark create secret s3-secret --from-file access_key=ak --from-file secret_key=sk\n"
        "  pass show s3 | tidemark create secret s3-secret --from-literal access_key=AK… \\\n"
        "      --from-file secret_key=-",
    .options =
        (const struct option_row[]){{.name = "from-literal",
                                     .value = "KEY=VALUE",
                                     .help = "seen by whoever lists processes",
                                     .repeat = true},
                                    {.name = "from-file",
                                     .value = "[KEY=]PATH",
                                     .help = "- is stdin; a line break at the end is left out",
                                     .repeat = true}},
    .option_count = 2,
    .run = run_create,
};

/* ---- delete ---- */

int secret_delete(struct ctl *c, const char *name, bool force)
{
    struct tm_err err;
    struct control_request request = {.command = CONTROL_SECRET_DELETE, .force = force};
    return take_name(&request, name, &err) < 0 || send_change(c, &request, &err) < 0
               ? ctl_fail(c, &err)
               : 0;
}

/* ---- get, describe ---- */

static int fetch(struct ctl *c, const char *name, json_t **ret, struct tm_err *err)
{
    int r = ctl_connect(c, err);
    if (r < 0)
        return r;
    if (name == NULL)
        return client_list(c->client, CONTROL_SECRETS, NULL, ret, err);
    return client_get(c->client, CONTROL_SECRETS, NULL, NULL, name, ret, err);
}

static void keys_text(const json_t *one, struct buf *out)
{
    size_t at;
    const json_t *key;
    struct tm_err ignored;
    json_array_foreach(json_at(one, "keys"), at, key)
    {
        if (buf_printf(out, &ignored, "%s%s", at > 0 ? "," : "", json_string_value(key)) < 0)
            return;
    }
}

static int print_table(struct ctl *c, const json_t *items, struct tm_err *err)
{
    static const char *const headings[] = {"NAME", "KEYS", "FILE", "CHANGED"};
    size_t at;
    const json_t *one;
    int r = 0;
    if (json_array_size(items) == 0) {
        (void)fprintf(c->err, "no resources of kind Secret\n");
        return 0;
    }
    TM_CLEANUP(text_table_release) struct text_table t;
    text_table_init(&t, headings, TM_ARRAY_LEN(headings));
    json_array_foreach(items, at, one)
    {
        TM_CLEANUP(buf_release) struct buf keys = BUF_INIT;
        const char *text = "";
        keys_text(one, &keys);
        bool lost = json_at(one, "error") != NULL;
        if ((r = buf_cstr(&keys, &text, err)) < 0 ||
            (r = text_table_cell(&t, err, "%s", json_text_at(one, "metadata.name"))) < 0 ||
            (r = text_table_cell(&t, err, "%s", text)) < 0 ||
            (r = text_table_cell(&t, err, "%s%s", json_text_at(one, "file"),
                                 lost ? " (unreadable)" : "")) < 0 ||
            (r = text_table_cell(&t, err, "%s", json_text_at(one, "changed"))) < 0)
            return r;
    }
    text_table_print(&t, c->out);
    return 0;
}

int secret_get(struct ctl *c, const char *name, const char *form)
{
    struct tm_err err;
    json_t *found;
    json_t *list = NULL;
    bool yaml = strcmp(form, "yaml") == 0;
    bool whole = yaml || strcmp(form, "json") == 0;
    if (fetch(c, name, &found, &err) < 0)
        return ctl_fail(c, &err);
    if (name != NULL && whole)
        list = json_incref(found);
    else
        list = name != NULL ? json_pack("[O]", found)
               : whole      ? json_pack("{s:O}", "items", found)
                            : json_incref(found);
    int r = list == NULL ? tm_err_oom(&err)
            : whole      ? value_print(c, list, yaml, &err)
                         : print_table(c, list, &err);
    json_decref(list);
    json_decref(found);
    return r < 0 ? ctl_fail(c, &err) : 0;
}

int secret_describe(struct ctl *c, const char *name)
{
    TM_CLEANUP(buf_release) struct buf keys = BUF_INIT;
    struct tm_err err;
    json_t *one;
    size_t at;
    const json_t *user;
    const char *text = "";
    if (fetch(c, name, &one, &err) < 0)
        return ctl_fail(c, &err);
    keys_text(one, &keys);
    if (buf_cstr(&keys, &text, &err) < 0)
        text = "";
    (void)fprintf(c->out, "%-18s %s\n%-18s %s\n%-18s %s\n%-18s %s\n",
                  "Name:", json_text_at(one, "metadata.name"), "Keys:", text,
                  "File:", json_text_at(one, "file"), "Changed:", json_text_at(one, "changed"));
    if (json_at(one, "error") != NULL)
        (void)fprintf(c->out, "%-18s %s\n", "Unreadable:", json_text_at(one, "error"));
    json_array_foreach(json_at(one, "usedBy"), at, user)
    {
        (void)fprintf(c->out, "%-18s %s\n", at == 0 ? "Used by:" : "", json_string_value(user));
    }
    json_decref(one);
    return 0;
}
