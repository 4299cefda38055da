/*
 * A log task on a real server whose stream ends where the test wants it: so sessions begin inside records.
 * Run by tests/integration/log_cut_test.sh; without arguments there is nothing to do.
 *
 *   cut_drive_test store DATA_DIR CONNINFO IDENTITY URL GENERATION LSN    one writer's life: up to LSN
 *   cut_drive_test events IDENTITY URL     of all lineages, chunk by chunk: event KIND LSN PREV END TIME_US XID
 *                                          NAME, as wal_dump_test does; and chunk FROM TO
 */
#include "tests/unit/agent/log/fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
    char **words;
    uint64_t until;
} g_want;

/* Nothing of the stream behind `until` is seen. */
static int cut_next(struct engine_log *log, unsigned timeout_ms, struct engine_log_event *ret,
                    struct tm_err *err)
{
    struct engine_log_event event;
    int r = engine_find("postgres")->log_next(log, timeout_ms, &event, err);
    if (r < 0)
        return r;
    if (event.kind == ENGINE_LOG_DATA && event.from + event.data.len > g_want.until) {
        event.data.len = event.from < g_want.until ? (size_t)(g_want.until - event.from) : 0;
        if (event.data.len == 0)
            event.kind = ENGINE_LOG_IDLE;
    }
    *ret = event;
    return 0;
}

static void set_up(struct rig *g, const char *identity, const char *url)
{
    rig_begin_options(g, url, "log=1");
    OK(names_scope_set(&g->options.scope, "demo1", "main", identity, &g_err));
    g->options.engine = engine_find("postgres");
    g->options.engine_name = "postgres";
}

static void store(void **state)
{
    struct rig g;
    char **w = g_want.words;
    (void)state;
    set_up(&g, w[2], w[3]);
    struct engine_ops ops = *g.options.engine;
    ops.log_next = cut_next;
    ops.log_read_file = NULL; /* all by the stream */
    g.options.engine = &ops;
    g.options.instance = (struct engine_instance){"main", w[0], w[1]};
    OK(ops.position_parse(w[5], &g_want.until, &g_err));
    run_to(&g, (uint32_t)strtoul(w[4], NULL, 10), g_want.until);
    rig_stop(&g);
    rig_end(&g);
}

static const char *lsn(uint64_t at, char text[ENGINE_POSITION_MAX])
{
    engine_find("postgres")->position_text(at, text);
    return text;
}

static void print_chunk(struct rig *g, const struct lineage *lineage, const struct log_entry *entry,
                        struct object_scratch *scratch)
{
    char a[ENGINE_POSITION_MAX], b[ENGINE_POSITION_MAX], c[ENGINE_POSITION_MAX];
    struct chunk_reader cr;
    struct log_ref ref;
    struct slice section = SLICE_EMPTY;
    struct events_reader reader;
    struct log_point e;
    printf("chunk %s %s\n", lsn(entry->from, a), lsn(entry->to, b));
    log_entry_ref(lineage, entry, &ref);
    struct full_name name = names_full(&g->options.scope, ref.object);
    OK(chunk_reader_open(&cr, scratch, g->storage, name.s, &ref, &g_err));
    if (chunk_reader_section(&cr, OBJECT_SECTION_EVENTS, &section, &g_err) == 1) {
        OK(events_reader_init(&reader, section, &g_err));
        while (events_reader_next(&reader, &e, &g_err) == 1)
            printf("event %d %s %s %s %" PRId64 " %" PRIu64 " %s\n", (int)e.kind, lsn(e.at, a),
                   lsn(e.previous, b), lsn(e.end, c), e.time_us, e.xid, e.name);
    }
    chunk_reader_release(&cr);
}

static void events(void **state)
{
    struct object_scratch *scratches[3] = {NULL};
    struct log_entry entry;
    struct rig g;
    (void)state;
    set_up(&g, g_want.words[0], g_want.words[1]);
    for (size_t i = 0; i < TM_ARRAY_LEN(scratches); i++)
        OK(object_scratch_new(&scratches[i], &g_err));
    struct log_lineages list = rig_lineages(&g);
    for (size_t i = 0; i < list.count; i++) {
        struct log_chain *chain = NULL;
        OK(log_chain_open(scratches, g.storage, &g.options.scope, &list.items[i], 0, &chain,
                          &g_err));
        while (log_chain_next(chain, &entry, &g_err) == 1)
            print_chunk(&g, &list.items[i].record, &entry, scratches[2]);
        log_chain_free(chain);
    }
    log_lineages_release(&list);
    for (size_t i = 0; i < TM_ARRAY_LEN(scratches); i++)
        object_scratch_free(scratches[i]);
    rig_end(&g);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest stores[] = {cmocka_unit_test(store)};
    const struct CMUnitTest prints[] = {cmocka_unit_test(events)};
    if (argc == 1) {
        (void)puts("skipped: run by tests/integration/log_cut_test.sh");
        return 0;
    }
    g_want.words = argv + 2;
    if (argc == 8 && strcmp(argv[1], "store") == 0)
        return cmocka_run_group_tests(stores, NULL, NULL);
    if (argc == 4 && strcmp(argv[1], "events") == 0)
        return cmocka_run_group_tests(prints, NULL, NULL);
    return 2;
}
