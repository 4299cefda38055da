/*
 * tidemark-agent search: the transactions and named points that the stored log holds.
 */

#include "agent/cli/internal.h"
#include "common/clock.h"
#include "common/parse.h"
#include "proto/repo/target.h"

#define LIMIT_DEFAULT 1000u
#define LIMIT_MAX     1000000u

static const char help[] =
    "usage: tidemark-agent search --storage URL --cluster C [--tenant T] [--from TIME] [--to "
    "TIME]\n"
    "                             [--xid N] [--name TEXT] [--points] [--limit N] [-o json]\n"
    "\n"
    "Lists commits, aborts, prepared transactions and named points of the stored log, by lineage "
    "and\n"
    "in log order. Needs no daemon.\n"
    "\n"
    "      --storage URL   of the repository: file:///path, s3://…, azblob://…\n"
    "      --secret-file F  its credentials, lines of KEY=VALUE; else the host's own\n"
    "      --cluster C     whose log\n"
    "      --tenant T      only this tenant\n"
    "      --from TIME     RFC 3339 or a TSO; events of this time or later\n"
    "      --to TIME       events of this time or earlier\n"
    "      --xid N         only this transaction (64 bits)\n"
    "      --name TEXT     only what has this name\n"
    "      --points        only named points\n"
    "      --limit N       stop after so many, default 1000\n"
    "  -o, --output json   for programs\n"
    "  -h, --help          print this and end\n"
    "\n"
    "POSITION is where the record begins: a target that includes it. A lineage that is damaged is "
    "told,\n"
    "and the others are searched. Exit status: 0 ok, 1 failed, or something is damaged, 2 wrong "
    "usage,\n"
    "3 no such cluster.\n";

struct searcher {
    struct storage *st;
    struct object_scratch *scratches[3];
    struct log_search search;
    struct log_positions positions; /* of the scope that is looked at */
    const struct repo_scope *scope;
    json_t *events; /* NULL: a table is printed */
    json_t *damaged;
    size_t damage_count;
    char damage[700]; /* the first, in words */
    uint32_t found;
    bool more;
};

static int add_json(struct searcher *s, const struct lineage *lineage, const struct log_point *e,
                    struct tm_err *err)
{
    char time[CLOCK_TEXT_MAX], id[33], position[FORMAT_POSITION_MAX];
    names_lineage_text(lineage->id, id);
    s->positions.text(e->at, position);
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "cluster", s->scope->cluster,
                          "tenant", s->scope->tenant, "kind", event_kind_text(e->kind), "time",
                          clock_format(e->time_us, time), "position", position, "lineage", id,
                          "lineageLabel", lineage->label);
    if (!o)
        return tm_err_oom(err);
    if (e->xid != 0) {
        /* a string: programs keep numbers of 64 bits badly */
        char xid[24];
        (void)snprintf(xid, sizeof(xid), "%llu", (unsigned long long)e->xid);
        json_object_set_new(o, "xid", json_string(xid));
    }
    if (e->name[0] != '\0')
        json_object_set_new(o, "name", json_string(e->name));
    return json_array_append_new(s->events, o) == 0 ? 0 : tm_err_oom(err);
}

static void print_row(struct searcher *s, const struct lineage *lineage, const struct log_point *e)
{
    char time[CLOCK_TEXT_MAX], id[33], position[FORMAT_POSITION_MAX], xid[24] = "-";
    if (s->found == 0)
        (void)printf("%-27s %-8s %-18s %-20s %-32s %s\n", "TIME", "KIND", "POSITION", "XID",
                     "LINEAGE", "NAME");
    names_lineage_text(lineage->id, id);
    s->positions.text(e->at, position);
    if (e->xid != 0)
        (void)snprintf(xid, sizeof(xid), "%llu", (unsigned long long)e->xid);
    (void)printf("%-27s %-8s %-18s %-20s %-32s %s\n", clock_format(e->time_us, time),
                 event_kind_text(e->kind), position, xid, id, e->name[0] != '\0' ? e->name : "-");
}

static int show_event(void *arg, const struct lineage *lineage, const struct log_point *event,
                      struct tm_err *err)
{
    struct searcher *s = arg;
    int r = 0;
    if (s->events)
        r = add_json(s, lineage, event, err);
    else
        print_row(s, lineage, event);
    s->found++;
    return r;
}

/* The same members as `tidemark-agent list -o json` prints. */
static int keep_damage(struct searcher *s, const struct log_damage *damage, struct tm_err *err)
{
    char lineage[33];
    names_lineage_text(damage->lineage, lineage);
    if (s->damage_count++ == 0)
        (void)snprintf(s->damage, sizeof(s->damage), "%s/%s: lineage %s is damaged: %s",
                       s->scope->cluster, s->scope->tenant, lineage, damage->text);
    if (!s->events)
        return 0;
    json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "cluster", s->scope->cluster, "tenant",
                          s->scope->tenant, "lineage", lineage, "message", damage->text);
    return o && json_array_append_new(s->damaged, o) == 0 ? 0 : tm_err_oom(err);
}

static int search_scope(void *arg, const struct repo_scope *scope, struct tm_err *err)
{
    struct searcher *s = arg;
    struct log_search search = s->search;
    if (s->more)
        return 0;
    if (s->found >= search.limit) { /* one more would be too many: is there one? */
        s->more = true;
        return 0;
    }
    TM_CLEANUP(log_damages_release) struct log_damages damages = LOG_DAMAGES_INIT;
    search.limit -= s->found;
    search.damages = &damages;
    s->scope = scope;
    int r = cli_positions(s->scratches[0], s->st, scope, &s->positions, err);
    if (r == 0)
        r = log_search_run(s->scratches, s->st, scope, &search, show_event, s, err);
    s->more = r > 0;
    for (size_t i = 0; r >= 0 && i < damages.count; i++)
        r = keep_damage(s, &damages.items[i], err);
    return r < 0 ? r : 0;
}

static int print_json(struct searcher *s, struct tm_err *err)
{
    json_t *o = json_pack("{s:O, s:b}", "events", s->events, "more", (int)s->more);
    if (o && s->damage_count > 0)
        (void)json_object_set(o, "damagedLineages", s->damaged);
    return cli_print_json(o, err);
}

static int search(struct searcher *s, const struct cli_where *where, struct tm_err *err)
{
    int r = cli_open(where->url, where->secret_file, &s->st, err);
    for (size_t i = 0; r == 0 && i < TM_ARRAY_LEN(s->scratches); i++)
        r = object_scratch_new(&s->scratches[i], err);
    if (r == 0)
        r = cli_each_scope(s->st, where->cluster, where->tenant, search_scope, s, err);
    if (r == 0 && s->events)
        r = print_json(s, err);
    else if (r == 0 && s->found == 0)
        (void)puts("no events");
    if (r == 0 && s->more && !s->events)
        (void)fprintf(stderr, "tidemark-agent: search: there are more than %u, see --limit\n",
                      s->search.limit);
    if (r == 0 && s->damage_count > 0)
        r = tm_err_set(err, TM_E_CORRUPT, "%s%s", s->damage,
                       s->damage_count > 1 ? "; more are, see list" : "");
    json_decref(s->damaged);
    json_decref(s->events);
    for (size_t i = 0; i < TM_ARRAY_LEN(s->scratches); i++)
        object_scratch_free(s->scratches[i]);
    storage_free(s->st);
    return r;
}

/* A time, as restore targets take it. */
static int time_option(const char *text, int64_t *ret, struct tm_err *err)
{
    struct target target;
    char buf[128];
    if (snprintf(buf, sizeof(buf), "time:%s", text) >= (int)sizeof(buf))
        return tm_err_set(err, TM_E_INVALID, "'%.40s…' is not a time", text);
    int r = target_parse(buf, &target, err);
    if (r == 0)
        *ret = target.time_us;
    return r;
}

enum { OPT_FROM = CLI_OPT_OWN, OPT_TO, OPT_XID, OPT_NAME, OPT_POINTS, OPT_LIMIT };

struct search_args {
    struct log_search search;
    bool json;
};

/* An option whose value is a number or a time. */
static int take_value(struct log_search *search, int option, struct tm_err *err)
{
    uint64_t limit = 0;
    int r = 0;
    switch (option) {
    case OPT_FROM:
        return time_option(optarg, &search->from_us, err);
    case OPT_TO:
        return time_option(optarg, &search->to_us, err);
    case OPT_XID:
        return parse_u64_in(optarg, 1, UINT64_MAX, &search->xid, err);
    default:
        r = parse_u64_in(optarg, 1, LIMIT_MAX, &limit, err);
        if (r == 0)
            search->limit = (uint32_t)limit;
        return r;
    }
}

static int take_option(void *arg, int option)
{
    struct search_args *args = arg;
    struct tm_err err;
    switch (option) {
    case OPT_NAME:
        args->search.name = optarg;
        return 0;
    case OPT_POINTS:
        args->search.points_only = true;
        return 0;
    case 'o':
        return cli_take_output("search", &args->json);
    default:
        return take_value(&args->search, option, &err) < 0 ? cli_usage("search", "%s", err.msg) : 0;
    }
}

int cli_search(int argc, char **argv)
{
    static const struct option options[] = {
        CLI_OPTIONS,
        {"from", required_argument, NULL, OPT_FROM},
        {"to", required_argument, NULL, OPT_TO},
        {"xid", required_argument, NULL, OPT_XID},
        {"name", required_argument, NULL, OPT_NAME},
        {"points", no_argument, NULL, OPT_POINTS},
        {"limit", required_argument, NULL, OPT_LIMIT},
        {"output", required_argument, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };
    struct search_args args = {.search = {.limit = LIMIT_DEFAULT}};
    const struct cli_command command = {.subject = "search",
                                        .help = help,
                                        .letters = "+:o:h",
                                        .options = options,
                                        .take = take_option,
                                        .arg = &args};
    struct cli_where where;
    struct tm_err err;
    int status = cli_parse(&command, argc, argv, &where);
    if (status != 0)
        return TM_MAX(status, 0);
    if (!where.cluster)
        return cli_usage("search", "--cluster is needed");
    if (args.search.to_us != 0 && args.search.from_us > args.search.to_us)
        return cli_usage("search", "--from is later than --to");
    struct searcher s = {.search = args.search};
    if (args.json && (!(s.events = json_array()) || !(s.damaged = json_array())))
        return cli_fail("search", (tm_err_oom(&err), &err));
    return search(&s, &where, &err) < 0 ? cli_fail("search", &err) : 0;
}
