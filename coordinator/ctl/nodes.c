/*
 * tidemark nodes | top | version: what is there now.
 * Failure modes: only that the coordinator cannot be asked.
 */
#include "common/clock.h"
#include "common/size.h"
#include "coordinator/ctl/command.h"
#include "coordinator/ctl/progress.h"
#include "coordinator/ctl/table.h"

#define TOP_EVERY_US USEC_PER_SEC

static int node_row(struct text_table *t, const json_t *node, const json_t *instance,
                    struct tm_err *err)
{
    bool connected = json_is_true(json_at(node, "connected"));
    const char *trouble = json_text_at(instance, "error");
    int result;
    if ((result = text_table_cell(t, err, "%s", json_text_at(node, "cluster"))) < 0 ||
        (result = text_table_cell(t, err, "%s", json_text_at(node, "node"))) < 0 ||
        (result = text_table_cell(t, err, "%s", connected ? "up" : "lost")) < 0 ||
        (result = text_table_cell(t, err, "%s", json_text_at(node, "version"))) < 0 ||
        (result = text_table_cell(t, err, "%s", json_text_at(instance, "tenant"))) < 0 ||
        (result = text_table_cell(t, err, "%s", json_text_at(instance, "engine"))) < 0 ||
        (result = text_table_cell(t, err, "%s", json_text_at(instance, "role"))) < 0 ||
        (result = text_table_cell(t, err, "%s", json_text_at(instance, "version"))) < 0 ||
        (result = text_table_cell(t, err, "%s", json_text_at(instance, "position"))) < 0)
        return result;
    return text_table_cell(t, err, "%s", trouble);
}

static int print_nodes(struct ctl *c, const json_t *nodes, struct tm_err *err)
{
    static const char *const heads[] = {"CLUSTER", "NODE", "STATUS",        "AGENT",    "TENANT",
                                        "ENGINE",  "ROLE", "SERVERVERSION", "POSITION", "ERROR"};
    if (json_array_size(nodes) == 0) {
        (void)fprintf(c->out, "no agent has been here yet\n");
        return 0;
    }
    struct text_table t;
    text_table_init(&t, heads, TM_ARRAY_LEN(heads));
    int result = 0;
    size_t at;
    const json_t *node;
    json_array_foreach(nodes, at, node)
    {
        const json_t *instances = json_at(node, "instances");
        size_t inner;
        const json_t *instance;
        json_array_foreach(instances, inner, instance)
        {
            if (result == 0)
                result = node_row(&t, node, instance, err);
        }
        if (result == 0 && json_array_size(instances) == 0)
            result = node_row(&t, node, NULL, err);
    }
    if (result == 0)
        text_table_print(&t, c->out);
    text_table_release(&t);
    return result;
}

/* How far the clusters with log backups are safe. */
static int print_clusters(struct ctl *c, struct tm_err *err)
{
    json_t *resources = NULL, *split = NULL;
    int result = client_list(c->client, CONTROL_LIST, "Backup", &resources, err);
    if (result == 0)
        result = tenants_split(resources, false, &split, err);
    json_decref(resources);
    if (result < 0)
        return result;
    json_t *clusters = log_clusters(split);
    json_decref(split);
    if (clusters == NULL)
        return tm_err_oom(err);
    log_clusters_print(c, clusters);
    json_decref(clusters);
    return 0;
}

int items_print(struct ctl *c, const json_t *items, struct tm_err *err)
{
    char *text = json_dumps(items, JSON_INDENT(2));
    if (text == NULL)
        return tm_err_oom(err);
    (void)fprintf(c->out, "{\"items\": %s}\n", text);
    free(text);
    return 0;
}

enum { NODES_OUTPUT, NODES_HOLDS };

static int run_nodes(struct ctl *c, const struct command *self, const struct option_value *values,
                     const struct option_words *words)
{
    struct tm_err err;
    json_t *nodes;
    bool json = values[NODES_OUTPUT].given;
    if (words->count > 0)
        return ctl_usage(c, self->name, "'%s' is one word too many", words->words[0]);
    if (json && strcmp(values[NODES_OUTPUT].text, "json") != 0)
        return ctl_usage(c, self->name, "output '%s' is not known; there is json",
                         values[NODES_OUTPUT].text);
    if (ctl_connect(c, &err) < 0 || client_list(c->client, CONTROL_NODES, NULL, &nodes, &err) < 0)
        return ctl_fail(c, &err);
    int result = 0;
    if (values[NODES_HOLDS].given) {
        result = holds_print(c, nodes, json, &err);
    } else if (json) {
        result = items_print(c, nodes, &err);
    } else {
        result = print_nodes(c, nodes, &err);
        if (result == 0)
            result = print_clusters(c, &err);
    }
    if (result == 0)
        result = doubt_warn(c, &err);
    json_decref(nodes);
    return result < 0 ? ctl_fail(c, &err) : 0;
}

const struct command command_nodes = {
    .name = "nodes",
    .words = "",
    .summary = "the agents, their instances, roles and positions",
    .detail = "One line an instance; below, how far each cluster with log backups is safe. With\n"
              "--holds all log that the databases keep for backups: since when, how much, for\n"
              "whom, and until when. What is kept for a backup that nobody goes on with is\n"
              "dropped then.\n\n"
              "  tidemark nodes -o json\n  tidemark nodes --holds",
    .options =
        (const struct option_row[]){
            [NODES_OUTPUT] = {.name = "output", .letter = 'o', .value = "FORM", .help = "json"},
            [NODES_HOLDS] = {.name = "holds", .help = "the log that is kept for backups"}},
    .option_count = 2,
    .run = run_nodes,
};

/* ---- top ---- */

static bool is_live(const json_t *resource)
{
    const char *phase = json_text_at(resource, "status.phase");
    return strcmp(phase, "Running") == 0 || strcmp(phase, "Prepare") == 0 ||
           strcmp(phase, "Scheduled") == 0 || strcmp(phase, "Deleting") == 0 ||
           strcmp(phase, "Pause") == 0 || strcmp(phase, "Fail") == 0;
}

static char *how_far(const json_t *resource, char line[PROGRESS_LINE_MAX])
{
    struct progress p;
    if (json_is_log(resource)) {
        const json_t *behind = json_at(resource, "status.latencySeconds");
        char text[CLOCK_TEXT_MAX];
        (void)snprintf(
            line, PROGRESS_LINE_MAX, "%s%s%s", json_text_at(resource, "status.logCheckpointTs"),
            behind != NULL ? ", behind " : "",
            behind != NULL ? duration_format_brief((int64_t)(json_number_value(behind) * 1e6), text)
                           : "");
        return line;
    }
    progress_init(&p);
    progress_feed(&p, json_u64_at(resource, "status.progress.rangesDone"),
                  json_u64_at(resource, "status.progress.rangesTotal"),
                  json_u64_at(resource, "status.progress.bytesDone"),
                  json_u64_at(resource, "status.progress.bytesTotal"), 1);
    return progress_line(&p, line);
}

static int print_jobs(struct ctl *c, const json_t *resources, struct tm_err *err)
{
    static const char *const heads[] = {"JOB", "STATUS", "NODE", "PROGRESS", "LASTERROR"};
    struct text_table t;
    text_table_init(&t, heads, TM_ARRAY_LEN(heads));
    int result = 0;
    size_t at;
    const json_t *one;
    json_array_foreach(resources, at, one)
    {
        if (result < 0 || !is_live(one))
            continue;
        const char *kind = "";
        const char *word = "";
        if ((result = kind_of(json_text_at(one, "kind"), &kind, &word, err)) < 0)
            continue;
        char line[PROGRESS_LINE_MAX];
        if ((result = text_table_cell(&t, err, "%s/%s", word, json_text_at(one, "metadata.name"))) <
                0 ||
            (result = text_table_cell(&t, err, "%s", json_text_at(one, "status.phase"))) < 0 ||
            (result = text_table_cell(&t, err, "%s", json_text_at(one, "status.node"))) < 0 ||
            (result = text_table_cell(&t, err, "%s", how_far(one, line))) < 0)
            continue;
        result = text_table_cell(&t, err, "%s", json_text_at(one, "status.lastError.message"));
    }
    if (result == 0 && t.cell_count > 0)
        text_table_print(&t, c->out);
    else if (result == 0)
        (void)fprintf(c->out, "no job is running\n");
    text_table_release(&t);
    return result;
}

static int print_top(struct ctl *c, struct tm_err *err)
{
    json_t *nodes = NULL;
    json_t *resources = NULL;
    int result = ctl_connect(c, err);
    if (result == 0)
        result = client_list(c->client, CONTROL_NODES, NULL, &nodes, err);
    if (result == 0)
        result = client_list(c->client, CONTROL_LIST, "", &resources, err);
    if (result == 0) {
        if (c->terminal)
            (void)fprintf(c->out, "\033[H\033[2J");
        result = print_nodes(c, nodes, err);
        (void)fputc('\n', c->out);
    }
    if (result == 0)
        result = print_jobs(c, resources, err);
    (void)fflush(c->out);
    json_decref(nodes);
    json_decref(resources);
    return result;
}

static int run_top(struct ctl *c, const struct command *self, const struct option_value *values,
                   const struct option_words *words)
{
    struct tm_err err;
    if (words->count > 0)
        return ctl_usage(c, self->name, "'%s' is one word too many", words->words[0]);
    for (;;) {
        if (print_top(c, &err) < 0)
            return ctl_fail(c, &err);
        if (!c->terminal || values[0].given)
            return 0;
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0,
                              &(struct timespec){.tv_sec = TOP_EVERY_US / USEC_PER_SEC}, NULL);
    }
}

const struct command command_top = {
    .name = "top",
    .words = "",
    .summary = "nodes and running jobs, refreshed on a terminal",
    .detail = "On a terminal the view is refreshed each second until Ctrl-C; elsewhere it is\n"
              "printed once.\n\n  tidemark top",
    .options = (const struct option_row[]){{.name = "once", .help = "print once, also here"}},
    .option_count = 1,
    .run = run_top,
};

/* ---- version ---- */

static int run_version(struct ctl *c, const struct command *self, const struct option_value *values,
                       const struct option_words *words)
{
    (void)self, (void)values, (void)words;
    struct tm_err err;
    json_t *server;
    (void)fprintf(c->out, "tidemark %s\n", TM_VERSION);
    if (ctl_connect(c, &err) < 0 ||
        client_get(c->client, CONTROL_VERSION, NULL, NULL, NULL, &server, &err) < 0)
        return ctl_fail(c, &err);
    (void)fprintf(c->out, "coordinator %s\n", json_text_at(server, "version"));
    json_decref(server);
    return 0;
}

const struct command command_version = {
    .name = "version",
    .words = "",
    .summary = "this program's version and the coordinator's",
    .detail = "'tidemark --version' tells this program's alone, without asking the coordinator.\n\n"
              "  tidemark version",
    .run = run_version,
};
