/*
 * tidemark rebuild: the list of backups, from what storage holds, for a coordinator that has lost its
 * state or was put back to an older copy of it.
 * Failure modes: no agent can read the storage; the last one's words are the error, and nothing was changed.
 */
#include "coordinator/ctl/command.h"

#define REBUILD_TIMEOUT_S 3600 /* a storage with very many backups */

enum {
    REBUILD_STORAGE,
    REBUILD_SECRET,
    REBUILD_CLUSTER,
    REBUILD_OUTPUT,
    REBUILD_FORCE,
    REBUILD_MOVED
};

static void print_doubt(FILE *out, const char *start, const json_t *version)
{
    const json_t *doubt = json_at(version, "rebuild");
    if (doubt == NULL)
        return;
    bool older = json_u64_at(doubt, "seenTerm") < json_u64_at(doubt, "hadTerm");
    if (json_is_true(json_at(doubt, "noticed")) && older)
        (void)fprintf(out,
                      "%ssince %s this coordinator's state may lack backups and jobs: an agent had "
                      "seen changes in it, under term %llu, that it does not have.\n",
                      start, json_text_at(doubt, "since"),
                      (unsigned long long)json_u64_at(doubt, "seenTerm"));
    else if (json_is_true(json_at(doubt, "noticed")))
        (void)fprintf(
            out,
            "%ssince %s this coordinator's state may lack backups and jobs: it had term %llu, "
            "an agent had seen %llu.\n",
            start, json_text_at(doubt, "since"), (unsigned long long)json_u64_at(doubt, "hadTerm"),
            (unsigned long long)json_u64_at(doubt, "seenTerm"));
    else
        (void)fprintf(out, "%ssince %s this coordinator's state is being rebuilt.\n", start,
                      json_text_at(doubt, "since"));
    (void)fprintf(
        out, "Truncation and what expires waits. Run 'tidemark rebuild --storage URL' for each "
             "storage, look at\n'tidemark get backup', then 'tidemark rebuild confirm'.\n");
}

static int fetch_version(struct ctl *c, json_t **ret, struct tm_err *err)
{
    int r = ctl_connect(c, err);
    return r < 0 ? r : client_get(c->client, CONTROL_VERSION, NULL, NULL, NULL, ret, err);
}

int doubt_warn(struct ctl *c, struct tm_err *err)
{
    json_t *version = NULL;
    int r = fetch_version(c, &version, err);
    if (r == 0)
        print_doubt(c->err, "tidemark: warning: ", version);
    json_decref(version);
    return r;
}

/* ---- read ---- */

static void print_count(struct ctl *c, const json_t *answer, const char *key, const char *what)
{
    char first[96];
    uint64_t count = json_u64_at(answer, key);
    (void)snprintf(first, sizeof(first), "firsts.%s", key);
    const char *text = json_text_at(answer, first);
    if (count > 0)
        (void)fprintf(c->out, "%llu %s%s%s%s\n", (unsigned long long)count, what,
                      text[0] != '\0' ? " (first: " : "", text, text[0] != '\0' ? ")" : "");
}

static void print_answer(struct ctl *c, const json_t *answer)
{
    const json_t *names = json_at(answer, "restored");
    const json_t *name;
    size_t at;
    json_array_foreach(names, at, name)(void)
        fprintf(c->out, "backup/%s restored\n", json_string_value(name));
    (void)fprintf(c->out,
                  "%zu restored: %llu complete, %llu log backups, %llu failed, %llu running, "
                  "%llu being deleted; %llu were known\n",
                  json_array_size(names), (unsigned long long)json_u64_at(answer, "complete"),
                  (unsigned long long)json_u64_at(answer, "logs"),
                  (unsigned long long)json_u64_at(answer, "failed"),
                  (unsigned long long)json_u64_at(answer, "running"),
                  (unsigned long long)json_u64_at(answer, "deleting"),
                  (unsigned long long)json_u64_at(answer, "known"));
    if (json_array_size(names) > 0)
        (void)fprintf(c->out,
                      "Truncation and what expires waits for 'tidemark rebuild confirm'.\n");
    print_count(c, answer, "retained", "backups stay in storage without a resource, as they were");
    print_count(c, answer, "conflicts",
                "are not restored: another resource has that name, or stores the same log there");
    print_count(c, answer, "missing",
                "are not restored: storage knows their names, and does not hold them");
    print_count(c, answer, "damaged",
                "are not restored: they cannot be read; 'tidemark-agent verify' says how");
    print_count(c, answer, "absent",
                "are listed as Complete, and storage does not hold them: deleted or damaged since "
                "this state was stored; 'tidemark delete backup NAME' takes them off the list");
    print_count(c, answer, "unreadable",
                "names are lost: what was kept of them cannot be read, or is of a newer version; "
                "their backups are shown under their ids");
    print_count(c, answer, "leftovers", "unfinished leftovers in storage are not restored");
    print_count(c, answer, "otherClusters",
                "of clusters without an agent here are left out; --cluster takes them");
    print_count(
        c, answer, "elsewhere",
        "are not restored: they were stored to another place; name that one, or, when this is "
        "where it was moved to, --moved");
}

static int pattern_of(const struct option_value *values, char **ret, struct tm_err *err)
{
    json_t *spec = json_pack("{s:{s:s}}", "br", "cluster", "rebuild");
    if (spec == NULL)
        return tm_err_oom(err);
    int r = spec_storage(values[REBUILD_STORAGE].text, values[REBUILD_SECRET].text, spec, err);
    if (r < 0) {
        json_decref(spec);
        return r;
    }
    return spec_resource("Backup", "rebuild", NULL, spec, ret, err);
}

static int read_storage(struct ctl *c, const struct command *self,
                        const struct option_value *values)
{
    TM_CLEANUP(freep) char *pattern = NULL;
    struct control_request request = {.command = CONTROL_REBUILD, .source = "rebuild"};
    struct tm_err err;
    json_t *answer = NULL;
    bool json = values[REBUILD_OUTPUT].given;
    if (json && strcmp(values[REBUILD_OUTPUT].text, "json") != 0)
        return ctl_usage(c, self->name, "output '%s' is not known; there is json",
                         values[REBUILD_OUTPUT].text);
    if (pattern_of(values, &pattern, &err) < 0)
        return ctl_usage(c, self->name, "%s", err.msg);
    request.yaml = slice_str(pattern);
    request.force = values[REBUILD_MOVED].given;
    if (values[REBUILD_CLUSTER].given)
        (void)snprintf(request.cluster, sizeof(request.cluster), "%s",
                       values[REBUILD_CLUSTER].text);
    if (ctl_connect(c, &err) < 0)
        return ctl_fail(c, &err);
    client_patience(c->client, REBUILD_TIMEOUT_S);
    if (client_one(c->client, &request, &answer, &err) < 0)
        return ctl_fail(c, &err);
    int r = 0;
    if (json)
        r = json_print(c, answer, &err);
    else
        print_answer(c, answer);
    json_decref(answer);
    return r < 0 ? ctl_fail(c, &err) : 0;
}

/* ---- confirm, status ---- */

static int confirm(struct ctl *c, bool force)
{
    struct control_request request = {.command = CONTROL_CONFIRM, .force = force};
    struct client_reply reply;
    struct tm_err err;
    if (ctl_connect(c, &err) < 0 || client_call(c->client, &request, &reply, &err) < 0)
        return ctl_fail(c, &err);
    client_reply_release(&reply);
    (void)fprintf(c->out, "confirmed: truncation and what expires goes on\n");
    return 0;
}

static int status(struct ctl *c)
{
    struct tm_err err;
    json_t *version = NULL;
    if (fetch_version(c, &version, &err) < 0)
        return ctl_fail(c, &err);
    if (json_at(version, "rebuild") == NULL)
        (void)fprintf(c->out, "nothing is to be rebuilt: term %llu\n",
                      (unsigned long long)json_u64_at(version, "term"));
    print_doubt(c->out, "", version);
    json_decref(version);
    return 0;
}

static int run_rebuild(struct ctl *c, const struct command *self, const struct option_value *values,
                       const struct option_words *words)
{
    bool reads = values[REBUILD_STORAGE].given;
    bool confirms = words->count == 1 && strcmp(words->words[0], "confirm") == 0;
    if (values[REBUILD_FORCE].given && !confirms)
        return ctl_usage(c, self->name, "--force is for 'confirm'");
    for (size_t n = 0; n < self->option_count && !reads; n++)
        if (n != REBUILD_FORCE && values[n].given)
            return ctl_usage(c, self->name, "--%s is for --storage", self->options[n].name);
    if (words->count == 0 && reads)
        return read_storage(c, self, values);
    if (confirms && !reads)
        return confirm(c, values[REBUILD_FORCE].given);
    if (words->count == 1 && !reads && strcmp(words->words[0], "status") == 0)
        return status(c);
    return ctl_usage(c, self->name, "--storage URL, 'confirm' or 'status' is wanted");
}

const struct command command_rebuild = {
    .name = "rebuild",
    .words = "--storage URL | confirm | status",
    .summary = "the list of backups again, from what storage holds",
    .detail =
        "For a coordinator that lost its state, or was put back to an older copy of it. An agent\n"
        "reads the storage; what no resource tells of becomes one, nothing else is changed, and\n"
        "it may be repeated. Secrets are to be created again before. Until 'confirm', truncation\n"
        "and what expires waits, and agents keep jobs that the coordinator does not know: while\n"
        "there are some, it is refused.\n\n"
        "  tidemark rebuild --storage file:///srv/backup\n"
        "  tidemark rebuild --storage 's3://bucket/shop?region=eu-west-1' --secret s3-secret\n"
        "  tidemark get backup\n"
        "  tidemark rebuild confirm",
    .options =
        (const struct option_row[]){
            [REBUILD_STORAGE] = {.name = "storage", .value = "URL", .help = "what to read"},
            [REBUILD_SECRET] = {.name = "secret", .value = "NAME", .help = "that gets into it"},
            [REBUILD_CLUSTER] = {.name = "cluster",
                                 .value = "C",
                                 .help = "this one alone; default: all that have agents here"},
            [REBUILD_OUTPUT] = {.name = "output", .letter = 'o', .value = "FORM", .help = "json"},
            [REBUILD_FORCE] = {.name = "force",
                               .help = "confirm: end what agents are at work on and nobody knows"},
            [REBUILD_MOVED] = {.name = "moved",
                               .help =
                                   "the storage was another place before: backups get new names"}},
    .option_count = 6,
    .run = run_rebuild,
};
