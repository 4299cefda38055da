/*
 * tidemark storage test: whether every node of a cluster gets into a storage, before anything depends on
 * it. The same is done before a new log backup is applied.
 *
 * Happy path: the spec, or the name, goes to the coordinator, whose agents do the testing; its answer
 * is printed as one table a storage, with one line a node, and what is wrong below.
 * Failure modes: a node that fails, sees another directory than the others, does not answer or is not
 * connected: status 1, with their number on stderr. Nothing to test, no coordinator: as everywhere.
 */
#include <inttypes.h>

#include "common/clock.h"
#include "common/size.h"
#include "coordinator/ctl/command.h"
#include "coordinator/ctl/table.h"
#include "proto/spec/spec.h"

#define TIMEOUT_MIN_US USEC_PER_SEC
#define TIMEOUT_MAX_US (50 * USEC_PER_SEC) /* the control socket's own is a minute */
#define TIMEOUT_NEW_MS 30000               /* before an apply */
#define CONFLICT_TRIES 50
#define CONFLICT_NS    100000000

enum test_option {
    TEST_CLUSTER,
    TEST_STORAGE,
    TEST_SECRET,
    TEST_TIMEOUT,
    TEST_OUTPUT,
    TEST_NAMESPACE,
    TEST_OPTIONS,
};

static const struct option_row test_rows[TEST_OPTIONS] = {
    [TEST_CLUSTER] = {.name = "cluster",
                      .value = "NAME",
                      .help = "whose nodes; default: the spec's cluster"},
    [TEST_STORAGE] = {.name = "storage",
                      .value = "URL",
                      .help = "this storage, without FILE or NAME; needs --cluster"},
    [TEST_SECRET] = {.name = "secret",
                     .value = "NAME",
                     .help = "of its credentials; default: the nodes' own"},
    [TEST_TIMEOUT] = {.name = "timeout",
                      .value = "TIME",
                      .help = "of each test on its node, 1s to 50s; default 30s"},
    [TEST_OUTPUT] = {.name = "output", .letter = 'o', .value = "FORM", .help = "json"},
    [TEST_NAMESPACE] = NAMESPACE_OPTION,
};

/* ---- asking ---- */

/* Too many tests at once: a moment later there is room. */
static int ask(struct ctl *c, const struct control_request *request, json_t **ret,
               struct tm_err *err)
{
    int result = ctl_connect(c, err);
    for (int tries = CONFLICT_TRIES; result == 0; tries--) {
        struct control_request one = *request;
        result = client_probe(c->client, &one, ret, err);
        if (result != -TM_E_CONFLICT || !err->retryable || tries == 0)
            return result;
        result = 0;
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = CONFLICT_NS}, NULL);
    }
    return result;
}

/* ---- the table ---- */

/* What several steps say together: the worst of them, "-" when none was done. */
static const char *together(const json_t *node, const char *const names[3])
{
    const char *worst = "";
    size_t at;
    const json_t *step;
    json_array_foreach(json_at(node, "steps"), at, step)
    {
        const char *outcome = json_text_at(step, "outcome");
        bool named = false;
        for (size_t n = 0; n < 3 && names[n] != NULL; n++)
            named = named || strcmp(json_text_at(step, "step"), names[n]) == 0;
        if (!named || strcmp(outcome, "skipped") == 0)
            continue;
        if (worst[0] == '\0' || strcmp(worst, "ok") == 0)
            worst = outcome;
    }
    return worst;
}

/* The first step that failed or hangs; "" = none. */
static const char *first_trouble(const json_t *node)
{
    size_t at;
    const json_t *step;
    json_array_foreach(json_at(node, "steps"), at, step)
    {
        const char *outcome = json_text_at(step, "outcome");
        if (strcmp(outcome, "failed") == 0 || strcmp(outcome, "hangs") == 0)
            return json_text_at(step, "step");
    }
    return "";
}

static void short_time(uint64_t us, char *text, size_t size)
{
    if (us < 1000)
        (void)snprintf(text, size, "%" PRIu64 "us", us);
    else if (us < 10000)
        (void)snprintf(text, size, "%.1fms", (double)us / 1000);
    else
        (void)snprintf(text, size, "%" PRIu64 "ms", us / 1000);
}

/* "1.2ms/300us" */
static void latency(const json_t *node, char *text, size_t size)
{
    char one[32], two[32];
    uint64_t put_us = json_u64_at(node, "writeMicroseconds");
    uint64_t get_us = json_u64_at(node, "readMicroseconds");
    short_time(put_us, one, sizeof(one));
    short_time(get_us, two, sizeof(two));
    text[0] = '\0';
    if (put_us != 0 || get_us != 0)
        (void)snprintf(text, size, "%s/%s", put_us != 0 ? one : "-", get_us != 0 ? two : "-");
}

/* "120.0 MiB/s, 1.5 GiB/s" */
static void throughput(const json_t *node, char *text, size_t size)
{
    char one[SIZE_TEXT_MAX], two[SIZE_TEXT_MAX];
    uint64_t up = json_u64_at(node, "writeBytesPerSecond");
    uint64_t down = json_u64_at(node, "readBytesPerSecond");
    text[0] = '\0';
    if (up != 0 || down != 0)
        (void)snprintf(text, size, "%s/s, %s/s", up != 0 ? size_format(up, one) : "-",
                       down != 0 ? size_format(down, two) : "-");
}

static void skew(const json_t *node, char *text, size_t size)
{
    const json_t *value = json_at(node, "skewMicroseconds");
    char brief[CLOCK_TEXT_MAX];
    json_int_t us = json_integer_value(value);
    text[0] = '\0';
    if (value != NULL)
        (void)snprintf(text, size, "%s%s", us < 0 ? "-" : "+",
                       duration_format_brief(us < 0 ? -us : us, brief));
}

static void mount(const json_t *node, char *text, size_t size)
{
    text[0] = '\0';
    if (json_at(node, "mount") != NULL)
        (void)snprintf(text, size, "%s (%s)", json_text_at(node, "mount.source"),
                       json_text_at(node, "mount.type"));
}

static int node_row(struct text_table *t, const json_t *node, struct tm_err *err)
{
    static const char *const verbs[][3] = {
        {"write", "upload", NULL},
        {"read", "range", "download"},
        {"list", "list after delete", NULL},
        {"delete", NULL, NULL},
    };
    const json_t *create = json_at(node, "conditionalCreate");
    char numbers[3][64], where[512];
    latency(node, numbers[0], sizeof(numbers[0]));
    throughput(node, numbers[1], sizeof(numbers[1]));
    skew(node, numbers[2], sizeof(numbers[2]));
    mount(node, where, sizeof(where));
    const char *const cells[] = {
        json_text_at(node, "node"),
        json_text_at(node, "result"),
        together(node, verbs[0]),
        together(node, verbs[1]),
        together(node, verbs[2]),
        together(node, verbs[3]),
        create == NULL         ? ""
        : json_is_true(create) ? "yes"
                               : "no",
        numbers[0],
        numbers[1],
        numbers[2],
        where,
        first_trouble(node),
    };
    int result = 0;
    for (size_t n = 0; n < TM_ARRAY_LEN(cells) && result == 0; n++)
        result = text_table_cell(t, err, "%s", cells[n]);
    return result;
}

/* Every step that failed, else what is said of the whole; then warnings. */
static void print_trouble(FILE *out, const json_t *node)
{
    const char *name = json_text_at(node, "node");
    const char *error = json_text_at(node, "error");
    size_t at;
    const json_t *one;
    bool said = false;
    json_array_foreach(json_at(node, "steps"), at, one)
    {
        const char *text = json_text_at(one, "error");
        if (text[0] == '\0')
            continue;
        (void)fprintf(out, "%s: %s: %s\n", name, json_text_at(one, "step"), text);
        said = said || strcmp(text, error) == 0;
    }
    if (!said && error[0] != '\0')
        (void)fprintf(out, "%s: %s\n", name, error);
    json_array_foreach(json_at(node, "warnings"), at, one)
    {
        (void)fprintf(out, "%s: warning: %s\n", name, json_string_value(one));
    }
}

static int print_test(FILE *out, const json_t *test, struct tm_err *err)
{
    static const char *const heads[] = {"NODE",       "RESULT", "WRITE",       "READ",
                                        "LIST",       "DELETE", "CONDITIONAL", "LATENCY",
                                        "THROUGHPUT", "SKEW",   "MOUNT",       "ERROR"};
    struct text_table t;
    size_t at;
    const json_t *node;
    int result = 0;
    (void)fprintf(out, "%s from cluster %s\n", json_text_at(test, "storage"),
                  json_text_at(test, "cluster"));
    if (json_array_size(json_at(test, "nodes")) == 0) {
        (void)fprintf(out, "no agent of it has been here yet\n");
        return 0;
    }
    text_table_init(&t, heads, TM_ARRAY_LEN(heads));
    json_array_foreach(json_at(test, "nodes"), at, node)
    {
        if (result == 0)
            result = node_row(&t, node, err);
    }
    if (result == 0)
        text_table_print(&t, out);
    text_table_release(&t);
    json_array_foreach(json_at(test, "nodes"), at, node)
    {
        print_trouble(out, node);
    }
    return result;
}

/* ---- storage test ---- */

static bool looks_like_file(const char *word)
{
    size_t len = strlen(word);
    return strcmp(word, "-") == 0 || access(word, F_OK) == 0 ||
           (len > 5 && strcmp(word + len - 5, ".yaml") == 0) ||
           (len > 4 && strcmp(word + len - 4, ".yml") == 0);
}

static int request_of_word(const char *word, struct buf *yaml, struct control_request *request,
                           struct tm_err *err)
{
    const char *slash = strrchr(word, '/');
    const char *kind = "Backup";
    const char *kind_word;
    char typed[32];
    if (looks_like_file(word)) {
        int result = source_read("storage", word, yaml, err);
        request->source = strcmp(word, "-") == 0 ? "<stdin>" : word;
        request->yaml = buf_slice(yaml);
        if (result == 0 && yaml->len == 0)
            result = tm_err_set(err, TM_E_INVALID, "storage: '%s' is empty", word);
        return result;
    }
    if (slash != NULL) {
        (void)snprintf(typed, sizeof(typed), "%.*s", (int)TM_MIN(slash - word, (ptrdiff_t)31),
                       word);
        if (kind_of(typed, &kind, &kind_word, err) < 0)
            return tm_err_set(err, TM_E_IO,
                              "storage: '%s' is neither a file nor a resource (backup/NAME)", word);
    }
    (void)snprintf(request->kind, sizeof(request->kind), "%s", kind);
    (void)snprintf(request->name, sizeof(request->name), "%s", slash != NULL ? slash + 1 : word);
    return 0;
}

/* A spec that is nothing but the storage. */
static int request_of_url(const struct option_value *values, struct buf *yaml,
                          struct control_request *request, struct tm_err *err)
{
    TM_CLEANUP(freep) char *text = NULL;
    json_t *br = json_object();
    json_t *spec = json_pack("{s:o}", "br", br);
    if (spec == NULL)
        return tm_err_oom(err);
    int result = spec_text(br, "cluster", &values[TEST_CLUSTER], err);
    if (result < 0 || (result = spec_storage(values[TEST_STORAGE].text, values[TEST_SECRET].text,
                                             spec, err)) < 0) {
        json_decref(spec);
        return result;
    }
    result = spec_resource("Backup", "storage-test", NULL, spec, &text, err);
    if (result == 0)
        result = buf_append(yaml, text, strlen(text), err);
    request->source = "storage";
    request->yaml = buf_slice(yaml);
    return result;
}

static int timeout_of(const struct option_value *value, uint32_t *ret_ms, struct tm_err *err)
{
    int64_t us;
    if (!value->given)
        return 0;
    int result = duration_parse(value->text, &us, err);
    if (result < 0)
        return tm_err_prefix(err, "timeout");
    if (us < TIMEOUT_MIN_US || us > TIMEOUT_MAX_US)
        return tm_err_set(err, TM_E_INVALID, "timeout '%s' is not 1s to 50s", value->text);
    *ret_ms = (uint32_t)(us / USEC_PER_MSEC);
    return 0;
}

/* Prints, and says how it came out: the exit status. */
static int show(struct ctl *c, json_t *tests, bool json)
{
    struct tm_err err;
    uint64_t well = 0, total = 0;
    size_t at;
    const json_t *test;
    int result = 0;
    json_array_foreach(tests, at, test)
    {
        well += json_u64_at(test, "nodesWell");
        total += json_u64_at(test, "nodesTotal");
        if (!json && at > 0)
            (void)fprintf(c->out, "\n");
        if (!json && result == 0)
            result = print_test(c->out, test, &err);
    }
    if (json) {
        json_t *items = json_pack("{s:O}", "items", tests);
        result = items == NULL ? tm_err_oom(&err) : json_print(c, items, &err);
        json_decref(items);
    }
    if (result < 0)
        return ctl_fail(c, &err);
    if (total > 0 && well == total)
        return 0;
    (void)fflush(c->out);
    if (total == 0)
        (void)fprintf(c->err, "tidemark: storage test: no node to test from\n");
    else
        (void)fprintf(c->err, "tidemark: storage test: %" PRIu64 " of %" PRIu64 " node%s failed\n",
                      total - well, total, total == 1 ? "" : "s");
    return 1;
}

static int run_test(struct ctl *c, const struct command *self, const struct option_value *values,
                    const char *word)
{
    TM_CLEANUP(buf_release) struct buf yaml = BUF_INIT;
    struct control_request request = {.timeout_ms = 0};
    struct tm_err err;
    if (timeout_of(&values[TEST_TIMEOUT], &request.timeout_ms, &err) < 0)
        return ctl_usage(c, self->name, "test: %s", err.msg);
    if (word == NULL && request_of_url(values, &yaml, &request, &err) < 0)
        return ctl_usage(c, self->name, "test: %s", err.msg);
    if (word != NULL && request_of_word(word, &yaml, &request, &err) < 0)
        return ctl_fail(c, &err);
    if (values[TEST_CLUSTER].given && strlen(values[TEST_CLUSTER].text) > WIRE_NAME_MAX)
        return ctl_usage(c, self->name, "test: a cluster's name has at most %d bytes",
                         WIRE_NAME_MAX);
    if (values[TEST_CLUSTER].given)
        (void)snprintf(request.cluster, sizeof(request.cluster), "%s", values[TEST_CLUSTER].text);
    if (values[TEST_NAMESPACE].given)
        (void)snprintf(request.namespace_, sizeof(request.namespace_), "%s",
                       values[TEST_NAMESPACE].text);
    json_t *tests = NULL;
    if (ask(c, &request, &tests, &err) < 0)
        return ctl_fail(c, &err);
    int status = show(c, tests, values[TEST_OUTPUT].given);
    json_decref(tests);
    return status;
}

static int run_storage(struct ctl *c, const struct command *self, const struct option_value *values,
                       const struct option_words *words)
{
    bool by_url = values[TEST_STORAGE].given;
    if (words->count == 0 || strcmp(words->words[0], "test") != 0)
        return ctl_usage(c, self->name, "test is wanted");
    if (words->count != (by_url ? 1u : 2u))
        return ctl_usage(c, self->name, "test: one FILE or NAME is wanted, or --storage");
    if (by_url && !values[TEST_CLUSTER].given)
        return ctl_usage(c, self->name, "test: --storage needs --cluster");
    if (values[TEST_OUTPUT].given && strcmp(values[TEST_OUTPUT].text, "json") != 0)
        return ctl_usage(c, self->name, "output '%s' is not known; there is json",
                         values[TEST_OUTPUT].text);
    return run_test(c, self, values, by_url ? NULL : words->words[1]);
}

const struct command command_storage = {
    .name = "storage",
    .words = "test FILE|NAME",
    .summary = "test a storage from every node before anything depends on it",
    .detail =
        "Every agent of the cluster writes, reads back, lists, creates a second time and deletes\n"
        "small objects below probe/ in the storage of FILE (any spec) or of the backup NAME,\n"
        "all at the same time, and leaves nothing there. One line a node; below, who failed and\n"
        "why. For a mounted path it is also told which server and export it is, and whether all\n"
        "nodes see the same directory. Status 0 when every node is well, 1 else.\n\n"
        "  tidemark storage test backup.yaml\n"
        "  tidemark storage test wal -o json\n"
        "  tidemark storage test --storage file:///srv/backup --cluster demo1",
    .options = test_rows,
    .option_count = TM_ARRAY_LEN(test_rows),
    .run = run_storage,
};

/* ---- before an apply ---- */

static bool refuses(const char *result)
{
    return strcmp(result, "failed") == 0 || strcmp(result, "apart") == 0 ||
           strcmp(result, "no answer") == 0;
}

/* Nodes that fail; those that could not be asked are warned of. */
static size_t judge(struct ctl *c, const json_t *test)
{
    size_t failed = 0, asked = 0, at;
    const json_t *node;
    const char *name = json_text_at(test, "name");
    json_array_foreach(json_at(test, "nodes"), at, node)
    {
        const char *result = json_text_at(node, "result");
        failed += refuses(result);
        asked += refuses(result) || strcmp(result, "ok") == 0;
    }
    if (asked == 0)
        (void)fprintf(
            c->err,
            "tidemark: warning: backup/%s: no agent of cluster '%s' is connected: storage "
            "%s was not tested\n",
            name, json_text_at(test, "cluster"), json_text_at(test, "storage"));
    json_array_foreach(json_at(test, "nodes"), at, node)
    {
        const char *result = json_text_at(node, "result");
        if (asked > 0 && !refuses(result) && strcmp(result, "ok") != 0)
            (void)fprintf(c->err,
                          "tidemark: warning: backup/%s: storage %s was not tested from node '%s': "
                          "%s\n",
                          name, json_text_at(test, "storage"), json_text_at(node, "node"),
                          json_text_at(node, "error"));
    }
    return failed;
}

/* What the apply itself will say as well, and better. */
static bool is_the_applys(const struct tm_err *err)
{
    return err->code == TM_E_INVALID || err->code == TM_E_UNSUPPORTED ||
           err->code == TM_E_PERMISSION;
}

int storage_check_new(struct ctl *c, const char *source, struct slice yaml, struct tm_err *err)
{
    const struct control_request request = {
        .source = source, .yaml = yaml, .timeout_ms = TIMEOUT_NEW_MS, .new_logs = true};
    json_t *tests = NULL;
    size_t at;
    const json_t *test;
    if (yaml.len == 0)
        return 0;
    int result = ask(c, &request, &tests, err);
    if (result < 0)
        return is_the_applys(err) ? 0 : result;
    json_array_foreach(tests, at, test)
    {
        size_t failed = judge(c, test);
        if (failed == 0)
            continue;
        if ((result = print_test(c->err, test, err)) < 0)
            break;
        uint64_t total = json_u64_at(test, "nodesTotal");
        result = tm_err_set(err, TM_E_REFUSED,
                            "backup/%s: not applied, the storage test failed on %zu of %" PRIu64
                            " node%s; --skip-test applies it all the same",
                            json_text_at(test, "name"), failed, total, total == 1 ? "" : "s");
        break;
    }
    json_decref(tests);
    return result;
}
