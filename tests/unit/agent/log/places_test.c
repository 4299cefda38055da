/* agent/log: backups that lie in other storages than the log, and how far an interval reaches by now. */
#include "tests/unit/agent/log/fixture.h"

#define ID_A    "20261121T100000Z-0000000a"
#define ID_B    "20261121T110000Z-0000000b"
#define SEGMENT (S + 458752) /* of the log's first byte: 1507328 */
#define NEXT    (SEGMENT + NULL_LOG_SEGMENT)

static const uint8_t nonce[OBJECT_NONCE_BYTES] = "nonce";

/* One object of a backup's own log, with the source's bytes. */
static struct log_ref put_log(struct rig *g, struct storage *st, struct object_scratch *scratch,
                              const char *id, uint64_t from, uint64_t to)
{
    struct chunk_writer cw = CHUNK_WRITER_INIT;
    struct log_chunk root = {
        .lineage = "its own", .label = "1", .from = from, .term = 1, .counter = 1};
    struct rel_name rel = names_rel_backup_log(id, from, (struct epoch){1, 1});
    struct full_name name = names_full(&g->options.scope, rel.s);
    struct object_info info;
    struct log_ref ref;
    uint8_t *bytes = malloc((size_t)(to - from));
    assert_non_null(bytes);
    OK(null_log_fill(g->conninfo, from, bytes, (size_t)(to - from), &g_err));
    OK(chunk_writer_open(&cw, scratch, st, name.s, &root, 1, nonce, NULL, &g_err));
    cw.root.segment_bytes = NULL_LOG_SEGMENT;
    OK(chunk_writer_data(&cw, slice_of(bytes, (size_t)(to - from)), &g_err));
    OK(chunk_writer_finish(&cw, rel.s, &ref, &info, &g_err));
    chunk_writer_release(&cw);
    free(bytes);
    return ref;
}

/* A committed backup with a log of its own, consistent at `at`, whose segment begins at `from`. */
static void put_backup(struct rig *g, struct storage *st, const char *id, uint64_t from,
                       uint64_t at, int64_t commit_us)
{
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    struct manifest_writer mw = MANIFEST_WRITER_INIT;
    struct object_info info;
    uint8_t bytes[8];
    const struct repo_scope *scope = &g->options.scope;
    struct identity identity = {.engine = "null", .created_us = 1};
    memcpy(identity.cluster, scope->cluster, sizeof(identity.cluster));
    memcpy(identity.tenant, scope->tenant, sizeof(identity.tenant));
    memcpy(identity.incarnation, scope->incarnation, sizeof(identity.incarnation));
    be64_put(bytes, at);
    struct position position = {.bytes = slice_of(bytes, 8)};
    (void)snprintf(position.text, sizeof(position.text), "%llu", (unsigned long long)at);
    struct manifest root = {.engine = "null",
                            .kind = BACKUP_FULL,
                            .term = 3,
                            .counter = 1000,
                            .commit_us = commit_us,
                            .consistent_at = &position,
                            .lineage = "its own",
                            .lineage_label = "1",
                            .log_from = from,
                            .log_to = at};
    memcpy(root.backup_id, id, sizeof(root.backup_id));
    memcpy(root.cluster, scope->cluster, sizeof(root.cluster));
    memcpy(root.tenant, scope->tenant, sizeof(root.tenant));
    memcpy(root.incarnation, scope->incarnation, sizeof(root.incarnation));
    OK(object_scratch_new(&scratch, &g_err));
    OK(identity_ensure(scratch, st, &identity, nonce, &g_err));
    struct log_ref ref = put_log(g, st, scratch, id, from, at);
    OK(manifest_writer_open(&mw, scratch, st, scope, id, nonce, &g_err));
    OK(manifest_writer_log(&mw, &ref, &g_err));
    OK(manifest_writer_commit(&mw, &root, &info, &g_err));
    manifest_writer_release(&mw);
}

static struct msg_log_place the_places[2];

static void want_places(struct rig *g, const char *first, const char *second)
{
    the_places[0].storage = first;
    the_places[1].storage = second;
    g->params.places = the_places;
    g->params.places_count = second != NULL ? 2 : 1;
    rig_want(g, JOB_STEP_RUN);
}

static struct storage *open_place(const char *url)
{
    struct storage *st = NULL;
    OK(storage_open(url, &(struct storage_options){.create_root = true}, &st, &g_err));
    return st;
}

static const struct ram_faults away = {.fail_per_mille = 1000};
static const struct ram_faults perfect = {.seed = 0};

static void test_backup_elsewhere(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=500000");
    int64_t began_us = clock_real_us();
    struct storage *st = open_place("ram://fulls");
    run_to(&g, 1, S + 500000);
    RIG_UNTIL(&g, g.status.needs_full);
    assert_int_equal(g.status.recoverable_count, 0);
    put_backup(&g, st, ID_A, SEGMENT, S + 490000, began_us);
    want_places(&g, "ram://fulls", NULL);
    RIG_UNTIL(&g, g.status.recoverable_count == 1 && !g.status.needs_full);
    assert_string_equal(g.intervals[0].backup_id, ID_A);
    assert_string_equal(g.intervals[0].from_position, "1538576");
    assert_string_equal(g.intervals[0].to_position, "1548576");
    assert_false(g.intervals[0].abandoned);
    assert_string_equal(g.warning, "");

    /* it ends where the checkpoint is told, without storage being asked for it */
    RIG_UNTIL(&g, g.status.checkpoint_us > began_us && g.intervals[0].to_us > began_us);
    uint64_t lists = ram_op_count(st, RAM_LIST);
    rig_source(&g, "log=600000");
    RIG_UNTIL(&g,
              g.status.durable == S + 600000 && strcmp(g.intervals[0].to_position, "1648576") == 0);
    int64_t before_us = g.status.checkpoint_us;
    RIG_UNTIL(&g, g.status.checkpoint_us > before_us);
    assert_int_equal(g.intervals[0].from_us, began_us);
    assert_true(g.intervals[0].to_us == g.status.checkpoint_us);
    assert_string_equal(g.intervals[0].to_position, g.status.position);
    assert_int_equal(ram_op_count(st, RAM_LIST), lists);

    /* away: what was known stays and grows */
    ram_set_faults(st, &away);
    want_places(&g, "ram://fulls", "ram://empty");
    RIG_UNTIL(&g, g.warning[0] != '\0');
    static const char said[] = "backups in 'ram://fulls' and 1 more storages cannot be read now, "
                               "what was known of them counts: ";
    assert_memory_equal(g.warning, said, sizeof(said) - 1);
    assert_false(g.status.needs_full);
    assert_int_equal(g.status.recoverable_count, 1);
    assert_string_equal(g.intervals[0].backup_id, ID_A);
    assert_string_equal(g.intervals[0].to_position, "1648576");
    rig_source(&g, "log=650000");
    RIG_UNTIL(&g, strcmp(g.intervals[0].to_position, "1698576") == 0);

    /* one that has not read it yet does not say that there is no backup */
    rig_stop(&g);
    rig_start(&g, 2);
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.stage == JOB_STAGE_WORKING && g.warning[0] != '\0' && g.status.durable != 0);
    assert_false(g.status.needs_full);
    assert_int_equal(g.status.recoverable_count, 0);
    ram_set_faults(st, &perfect);
    want_places(&g, "ram://fulls", NULL);
    RIG_UNTIL(&g, g.warning[0] == '\0' && g.status.recoverable_count == 1);
    assert_string_equal(g.intervals[0].to_position, "1698576");
    rig_stop(&g);
    storage_free(st);
    rig_end(&g);
}

/* A backup is consistent a little behind what is stored yet: it leads on as soon as that is. */
static void test_backup_ahead(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=500000");
    struct storage *st = open_place("ram://fulls4");
    run_to(&g, 1, S + 500000);
    RIG_UNTIL(&g, g.status.needs_full);
    put_backup(&g, st, ID_A, SEGMENT, S + 510000, clock_real_us());
    want_places(&g, "ram://fulls4", NULL);
    RIG_UNTIL(&g, g.status.recoverable_count == 1);
    assert_string_equal(g.intervals[0].from_position, "1558576");
    assert_string_equal(g.intervals[0].to_position, "1558576");
    assert_true(g.status.needs_full);
    int64_t began_us = clock_mono_us();
    rig_source(&g, "log=520000");
    RIG_UNTIL(&g, !g.status.needs_full);
    assert_string_equal(g.intervals[0].from_position, "1558576");
    assert_string_equal(g.intervals[0].to_position, "1568576");
    assert_true(clock_mono_us() - began_us < LOG_RETRY_MAX_MS * USEC_PER_MSEC * 2 / 3);
    rig_stop(&g);
    storage_free(st);
    rig_end(&g);
}

static void truncate_wish(struct rig *g, uint32_t gen)
{
    g->params.truncate_gen = gen;
    g->params.truncate_until = "2099-01-01T00:00:00Z";
    rig_want(g, JOB_STEP_RUN);
}

/* Of two storages one is opened with what came for it, of the other the secret did not come. */
static void test_secrets(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=500000");
    struct storage *st = open_place("ram://with"), *st2 = open_place("ram://without");
    int64_t began_us = clock_real_us();
    put_backup(&g, st, ID_A, SEGMENT, S + 490000, began_us);
    put_backup(&g, st2, ID_B, SEGMENT, S + 480000, began_us);
    struct msg_pair pair = {.name = "secret_key", .value = slice_str("SK")};
    struct msg_secret with = {.name = "one", .pairs = &pair, .pairs_count = 1};
    struct msg_error error = {.code = TM_E_NOT_FOUND, .text = "there is no secret 'two'"};
    struct msg_secret without = {.name = "two", .error = &error};
    the_places[0].secret = &with;
    the_places[1].secret = &without;
    the_places[0].storage = "ram://with";
    the_places[1].storage = "ram://without";
    g.params.places = the_places;
    g.params.places_count = 2;
    run_to(&g, 1, S + 500000);
    RIG_UNTIL(&g, g.warning[0] != '\0' && g.status.recoverable_count == 1);
    assert_string_equal(g.warning,
                        "backups in 'ram://without' cannot be read now, what was known of them "
                        "counts: there is no secret 'two'");
    assert_string_equal(g.intervals[0].from_position, "1538576");
    truncate_wish(&g, 1);
    RIG_UNTIL(&g, g.status.truncate_gen == 1);
    assert_string_equal(g.truncate_text,
                        "backups in 'ram://without' cannot be read now, and may need the log: try "
                        "again later, or force: there is no secret 'two'");

    /* it comes, and is looked at without waiting for the next time */
    struct msg_secret came = {.name = "two", .pairs = &pair, .pairs_count = 1};
    the_places[1].secret = &came;
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.warning[0] == '\0');
    RIG_UNTIL(&g, strcmp(g.intervals[0].from_position, "1528576") == 0);

    /* one that cannot be used is told, too */
    struct msg_pair twice[] = {pair, pair};
    struct msg_secret bad = {.name = "two", .pairs = twice, .pairs_count = 2};
    the_places[1].secret = &bad;
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.warning[0] != '\0');
    assert_non_null(strstr(g.warning, "secret 'two': key 'secret_key' is given twice"));
    assert_int_equal(g.status.recoverable_count, 1);
    rig_stop(&g);
    the_places[0].secret = the_places[1].secret = NULL;
    storage_free(st);
    storage_free(st2);
    rig_end(&g);
}

/* A hole behind what is known: the interval ends there, whatever the checkpoint is. */
static void test_grows_not_over_a_hole(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=500000");
    struct storage *st = open_place("ram://fulls2");
    put_backup(&g, st, ID_A, SEGMENT, S + 490000, clock_real_us());
    g.params.places = the_places;
    g.params.places_count = 1;
    the_places[0].storage = "ram://fulls2";
    run_to(&g, 1, S + 500000);
    RIG_UNTIL(&g, g.status.recoverable_count == 1 && g.intervals[0].to_us != 0);
    rig_stop(&g);
    rig_source(&g, "log=900000 cut=1900000");
    run_to(&g, 2, S + 900000);
    RIG_UNTIL(&g, g.status.recoverable_count == 1 && g.status.checkpoint_us != 0);
    assert_string_equal(g.intervals[0].to_position, "1548576");
    int64_t before_us = g.status.checkpoint_us, to_us = g.intervals[0].to_us;
    RIG_UNTIL(&g, g.status.checkpoint_us > before_us);
    assert_true(g.status.needs_full);
    assert_string_equal(g.intervals[0].to_position, "1548576");
    assert_true(g.intervals[0].to_us == to_us);
    assert_true(to_us < g.status.checkpoint_us);
    rig_stop(&g);
    storage_free(st);
    rig_end(&g);
}

/* The log has a gap and no backup behind it is known: that is told, though there is a place that was never
 * read, in which one may lie. */
static void test_a_hole_is_told(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=500000");
    struct storage *st = open_place("ram://fulls5");
    ram_set_faults(st, &away);
    g.params.places = the_places;
    g.params.places_count = 1;
    the_places[0].storage = "ram://fulls5";
    run_to(&g, 1, S + 500000);
    RIG_UNTIL(&g, g.warning[0] != '\0');
    assert_false(g.status.needs_full);
    rig_stop(&g);
    rig_source(&g, "log=900000 cut=1900000");
    run_to(&g, 2, S + 900000);
    RIG_UNTIL(&g, g.status.needs_full);
    rig_stop(&g);
    rig_source(&g, "log=950000 cut=1900000");
    rig_start(&g, 3);
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.needs_full && g.status.durable == S + 950000);
    static const char said[] = "log from 1548576 to 1900544 is missing: the source had recycled "
                               "it; backups in 'ram://fulls5' cannot be read now, ";
    assert_memory_equal(g.warning, said, sizeof(said) - 1);

    /* read, and a backup leads on from there */
    ram_set_faults(st, &perfect);
    put_backup(&g, st, ID_A, 1900544, S + 920000, clock_real_us());
    RIG_UNTIL(&g, !g.status.needs_full && g.warning[0] == '\0');
    rig_stop(&g);
    storage_free(st);
    rig_end(&g);
}

/* A gap of the lineage before says nothing of the one that is written now. */
static void test_another_lineages_gap(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=500000");
    run_to(&g, 1, S + 500000);
    rig_stop(&g);
    rig_source(&g, "log=900000 cut=1900000");
    run_to(&g, 2, S + 900000);
    RIG_UNTIL(&g, g.status.needs_full && g.warning[0] != '\0');
    assert_string_equal(g.warning,
                        "log from 1548576 to 1900544 is missing: the source had recycled it");
    rig_source(&g, "log=990000 cut=1900000 branch=2 parent=1 fork=1980000");
    RIG_UNTIL(&g, strcmp(g.status.label, "2") == 0 && g.status.durable == S + 990000);
    assert_true(g.status.needs_full);
    assert_string_equal(g.warning, "");
    rig_stop(&g);
    rig_end(&g);
}

static void test_truncate_minds_them(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=500000");
    struct storage *st = open_place("ram://fulls3");
    int64_t began_us = clock_real_us();
    run_to(&g, 1, S + 500000);
    rig_source(&g, "log=600000");
    RIG_UNTIL(&g, g.status.durable == S + 600000);
    put_backup(&g, st, ID_A, SEGMENT, S + 490000, began_us);
    put_backup(&g, st, ID_B, NEXT, S + 560000, began_us + 1);
    ram_set_faults(st, &away);
    want_places(&g, "ram://fulls3", NULL);
    truncate_wish(&g, 1);
    RIG_UNTIL(&g, g.status.truncate_gen == 1);
    assert_true(g.has_truncate_error);
    static const char said[] =
        "backups in 'ram://fulls3' cannot be read now, and may need the log: "
        "try again later, or force: ";
    assert_memory_equal(g.truncate_text, said, sizeof(said) - 1);

    ram_set_faults(st, &perfect);
    truncate_wish(&g, 2);
    RIG_UNTIL(&g, g.status.truncate_gen == 2);
    assert_true(g.has_truncate_error);
    assert_non_null(strstr(g.truncate_text, "backup '" ID_A "', consistent at "));
    assert_non_null(
        strstr(g.truncate_text, ", needs the log from 1507328 on: delete it first, or force"));

    struct rel_name rel = names_rel_deleted(ID_A);
    OK(storage_put(st, names_full(&g.options.scope, rel.s).s, SLICE_EMPTY, &g_err));
    truncate_wish(&g, 3);
    RIG_UNTIL(&g, g.status.truncate_gen == 3);
    assert_false(g.has_truncate_error);
    assert_string_equal(g.status.truncated_position, "1572864");
    RIG_UNTIL(&g, g.status.recoverable_count == 1 && g.status.checkpoint_us != 0);
    rig_stop(&g);
    storage_free(st);
    rig_end(&g);
}

static const struct ram_faults hanging = {.hang = true};

/* A place that hangs is told, and keeps neither the report nor a truncation waiting for ever. */
static void test_place_hangs(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=500000");
    struct storage *st = open_place("ram://hanging-fulls");
    put_backup(&g, st, ID_A, SEGMENT, S + 490000, clock_real_us());
    rig_start(&g, 1);
    g.task->place_ms = 300;
    want_places(&g, "ram://hanging-fulls", NULL);
    RIG_UNTIL(&g, g.status.recoverable_count == 1 &&
                      strcmp(g.intervals[0].to_position, "1548576") == 0);
    ram_set_faults(st, &hanging);
    want_places(&g, "ram://hanging-fulls", "ram://empty");
    static const char said[] =
        "backups in 'ram://hanging-fulls' and 1 more storages cannot be read "
        "now, what was known of them counts: it does not answer";
    RIG_UNTIL(&g, strcmp(g.warning, said) == 0 ||
                      strstr(g.warning, "does not answer: a call has taken more than 1 s"));
    assert_int_equal(g.status.recoverable_count, 1);
    rig_source(&g, "log=600000");
    RIG_UNTIL(&g, strcmp(g.intervals[0].to_position, "1648576") == 0);
    g.params.truncate_gen = 1;
    g.params.truncate_until = "2099-01-01T00:00:00Z";
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.truncate_gen == 1);
    assert_true(g.has_truncate_error);
    assert_string_equal(
        g.truncate_text,
        "backups in 'ram://hanging-fulls' cannot be read now, and may need the log: "
        "try again later, or force: it does not answer");
    g.params.truncate_gen = 2;
    g.params.truncate_force = true;
    rig_want(&g, JOB_STEP_RUN);
    RIG_UNTIL(&g, g.status.truncate_gen == 2 && !g.has_truncate_error);
    /* it is back */
    ram_set_faults(st, &perfect);
    want_places(&g, "ram://hanging-fulls", NULL);
    RIG_UNTIL(&g, g.warning[0] == '\0' && g.status.recoverable_count == 1);
    rig_stop(&g);
    storage_free(st);
    rig_end(&g);
}

/* The newest chunk is removed by hand: the interval ends where storage does, and that is told. */
static void test_newest_chunk_gone(void **state)
{
    (void)state;
    struct rig g;
    RIG_BEGIN(&g, "log=500000");
    put_backup(&g, g.storage, ID_A, SEGMENT, S + 490000, clock_real_us());
    run_to(&g, 1, S + 500000);
    RIG_UNTIL(&g, g.status.recoverable_count == 1);
    rig_source(&g, "log=600000");
    RIG_UNTIL(&g, strcmp(g.intervals[0].to_position, "1648576") == 0);
    struct log_lineages list = rig_lineages(&g);
    struct storage_iter *it = NULL;
    struct storage_object object;
    struct full_name prefix = names_log_prefix(&g.options.scope, list.items[0].record.id, "chunk");
    OK(storage_list(g.storage, prefix.s, NULL, &it, &g_err));
    while (storage_iter_next(it, &object, &g_err) == 1)
        ;
    storage_iter_free(it);
    const char *newest = object.name;
    OK(storage_remove(g.storage, &newest, 1, &g_err));
    want_places(&g, "ram://empty", NULL);
    RIG_UNTIL(&g, strstr(g.warning, "missing or damaged") != NULL);
    assert_non_null(strstr(g.warning,
                           "log from 1548576 to 1648576, which was stored, has a part that is "
                           "missing or damaged: nothing behind 1548576 can be restored, take a new "
                           "full backup"));
    assert_int_equal(g.status.recoverable_count, 1);
    assert_string_equal(g.intervals[0].to_position, "1548576");
    log_lineages_release(&list);
    rig_stop(&g);
    rig_end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backup_elsewhere),
        cmocka_unit_test(test_backup_ahead),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_grows_not_over_a_hole),
        cmocka_unit_test(test_a_hole_is_told),
        cmocka_unit_test(test_another_lineages_gap),
        cmocka_unit_test(test_truncate_minds_them),
        cmocka_unit_test(test_place_hangs),
        cmocka_unit_test(test_newest_chunk_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
