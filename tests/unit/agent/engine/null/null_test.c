/* The null and mock engines: whatever the ranges are, together they are the whole database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/engine/null/config.h"
#include "agent/engine/null/mock.h"
#include "agent/engine/null/null.h"
#include "common/fs.h"
#include "common/hash.h"

static struct tm_err err;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) < 0)                                                                            \
            fail_msg("%s: %s", #expr, err.msg);                                                    \
    } while (0)

#define RANGES 1024

/* Adds up what a reader sends. */
struct adder {
    struct range_sink base;
    uint8_t room[40000]; /* small: files need several */
    uint64_t files;
    uint64_t bytes;
    uint64_t parts_open;
    uint32_t crc;
    char path[ENGINE_PATH_MAX];
    uint64_t next;  /* byte due in that file */
    uint64_t order; /* hash over paths, offsets and checksums */
    unsigned problems;
};

static int add_begin(struct range_sink *base, const struct file_entry *entry, struct tm_err *e)
{
    struct adder *a = (struct adder *)base;
    (void)e;
    if (strcmp(a->path, entry->path) != 0)
        a->next = 0;
    (void)snprintf(a->path, sizeof(a->path), "%s", entry->path);
    assert_int_equal(entry->offset_bytes, a->next);
    a->crc = CRC32C_INIT;
    a->parts_open++;
    a->files += entry->last_part;
    return 0;
}

static int add_room(struct range_sink *base, size_t want, uint8_t **ret, size_t *ret_bytes,
                    struct tm_err *e)
{
    struct adder *a = (struct adder *)base;
    (void)want;
    (void)e;
    *ret = a->room;
    *ret_bytes = sizeof(a->room);
    return 0;
}

static int add_advance(struct range_sink *base, size_t bytes, struct tm_err *e)
{
    struct adder *a = (struct adder *)base;
    (void)e;
    assert_true(bytes <= sizeof(a->room));
    a->crc = crc32c(a->crc, a->room, bytes);
    a->bytes += bytes;
    a->next += bytes;
    return 0;
}

static int add_end(struct range_sink *base, uint32_t crc, struct tm_err *e)
{
    struct adder *a = (struct adder *)base;
    (void)e;
    assert_int_equal(crc, a->crc);
    a->parts_open--;
    return 0;
}

static int add_problem(struct range_sink *base, const char *path, uint64_t block, const char *what,
                       struct tm_err *e)
{
    struct adder *a = (struct adder *)base;
    (void)path;
    (void)block;
    (void)what;
    (void)e;
    a->problems++;
    return 0;
}

static const struct range_sink_ops adder_ops = {add_begin, add_room, add_advance, add_end,
                                                add_problem};

struct keys {
    uint8_t start[RANGES][ENGINE_KEY_MAX];
    size_t start_len[RANGES];
    uint8_t end[ENGINE_KEY_MAX];
    size_t end_len;
    uint64_t bytes;
    unsigned count;
};

static int keep(void *arg, struct engine_key_range range, uint64_t bytes, struct tm_err *e)
{
    struct keys *k = arg;
    (void)e;
    assert_true(k->count < RANGES);
    assert_int_equal(range.start.len, k->end_len);
    if (k->end_len > 0)
        assert_memory_equal(range.start.data, k->end, k->end_len);
    if (range.start.len)
        memcpy(k->start[k->count], range.start.data, range.start.len);
    k->start_len[k->count++] = range.start.len;
    memcpy(k->end, range.end.data, range.end.len);
    k->end_len = range.end.len;
    k->bytes += bytes;
    return 0;
}

static struct engine_key_range range_at(const struct keys *k, unsigned i)
{
    struct slice end = i + 1 < k->count ? slice_of(k->start[i + 1], k->start_len[i + 1])
                                        : slice_of(k->end, k->end_len);
    return (struct engine_key_range){slice_of(k->start[i], k->start_len[i]), end};
}

static struct engine_reader *open_reader(const struct engine_ops *engine, const char *conninfo)
{
    struct engine_instance instance = {"main", "/", conninfo};
    struct engine_session *session = NULL;
    struct engine_reader *reader = NULL;
    struct engine_position from;
    TM_CLEANUP(buf_release) struct buf begin = BUF_INIT;
    OK(engine->session_open(&instance, "t", &session, &err));
    OK(engine->snapshot_begin(session, NULL, true, &begin, &from, &err));
    OK(engine->reader_open(&instance, buf_slice(&begin), &reader, &err));
    engine->session_close(session);
    return reader;
}

static void plan(const struct engine_ops *engine, struct engine_reader *reader,
                 uint64_t range_bytes, struct keys *k)
{
    struct engine_plan_options options = {.range_bytes = range_bytes, .range_files = 50};
    *k = (struct keys){.count = 0};
    OK(engine->plan(reader, &options, keep, k, &err));
    uint8_t final[ENGINE_KEY_MAX];
    size_t len;
    assert_int_equal(engine->final_key(reader, final, &len), 0);
    assert_int_equal(k->end_len, len);
    assert_memory_equal(k->end, final, len);
}

static void read_all(const struct engine_ops *engine, struct engine_reader *reader,
                     const struct keys *k, struct adder *a)
{
    *a = (struct adder){.base = {&adder_ops}};
    for (unsigned i = 0; i < k->count; i++) {
        struct engine_range_stats stats;
        uint64_t before = a->bytes;
        OK(engine->read_range(reader, range_at(k, i), &a->base, &stats, &err));
        assert_int_equal(stats.bytes, a->bytes - before);
        assert_int_equal(a->parts_open, 0);
    }
}

static void test_ranges_are_the_whole(void **state)
{
    (void)state;
    static struct keys k;
    static struct adder a;
    const uint64_t sizes[] = {8192, 100000, 1 << 20, 1 << 30};
    struct engine_reader *reader =
        open_reader(&null_engine, "files=300 bytes=9000 big=1000001 corrupt=3");
    uint64_t bytes = 0;
    for (size_t i = 0; i < TM_ARRAY_LEN(sizes); i++) {
        plan(&null_engine, reader, sizes[i], &k);
        read_all(&null_engine, reader, &k, &a);
        assert_int_equal(a.files, 303); /* and two directories */
        assert_int_equal(a.bytes, k.bytes);
        assert_int_equal(a.problems, 3);
        if (bytes > 0)
            assert_int_equal(a.bytes, bytes);
        bytes = a.bytes;
    }
    null_engine.reader_close(reader);
}

static void test_mock_ranges_are_the_whole(void **state)
{
    (void)state;
    static struct keys k;
    static struct adder a;
    const uint64_t sizes[] = {1000, 4096, 1 << 20};
    struct engine_reader *reader = open_reader(&mock_engine, "keys=1000 value=50");
    for (size_t i = 0; i < TM_ARRAY_LEN(sizes); i++) {
        plan(&mock_engine, reader, sizes[i], &k);
        read_all(&mock_engine, reader, &k, &a);
        assert_int_equal(a.files, k.count);
        assert_int_equal(a.bytes, k.count * 8 + 1000 * (50 + 9 + 8));
    }
    mock_engine.reader_close(reader);
}

static void test_fill_is_a_function_of_place(void **state)
{
    (void)state;
    uint8_t whole[30000], part[5000];
    null_fill(7, 3, 0, whole, sizeof(whole));
    for (size_t at = 0; at + sizeof(part) < sizeof(whole); at += 777) {
        null_fill(7, 3, at, part, sizeof(part));
        assert_memory_equal(part, whole + at, sizeof(part));
    }
    null_fill(8, 3, 0, part, sizeof(part));
    assert_true(memcmp(part, whole, sizeof(part)) != 0);
}

static void test_conninfo(void **state)
{
    (void)state;
    struct null_config c;
    OK(null_config_parse("null", "files=3 seed=9  identity=x role=standby", &c, &err));
    assert_int_equal(c.files, 3);
    assert_int_equal(c.seed, 9);
    assert_true(c.standby);
    assert_string_equal(c.identity, "x");
    assert_int_equal(null_config_parse("null", "files", &c, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "conninfo: 'files' is not name=value");
    assert_int_equal(null_config_parse("null", "fils=1", &c, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "conninfo: there is no word 'fils'");
    assert_int_equal(null_config_parse("null", "role=boss", &c, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, "conninfo: role is primary or standby, not 'boss'");
}

static void test_log(void **state)
{
    (void)state;
    struct engine_instance instance = {"main", "/", "log=100000"};
    struct engine_log *log = NULL;
    struct engine_log_event event;
    struct slice begin = slice_str("null1 log=100000");
    uint64_t at = NULL_LOG_START;
    OK(null_engine.log_open(&instance, begin, at, &log, &err));
    do {
        OK(null_engine.log_next(log, 0, &event, &err));
        assert_int_equal(event.from, at);
        at += event.data.len;
    } while (event.kind == ENGINE_LOG_DATA);
    assert_int_equal(at, NULL_LOG_START + 100000);
    assert_int_equal(event.kind, ENGINE_LOG_IDLE);
    null_engine.log_close(log);
    assert_int_equal(null_engine.log_open(&instance, begin, 5, &log, &err), -TM_E_NOT_FOUND);
    assert_int_equal(null_engine.log_open(&instance, slice_str("x"), 5, &log, &err), -TM_E_INVALID);
}

static void test_resume(void **state)
{
    (void)state;
    static const struct engine_ops *const engines[] = {&null_engine, &mock_engine};
    for (size_t n = 0; n < TM_ARRAY_LEN(engines); n++) {
        const struct engine_ops *engine = engines[n];
        struct engine_instance instance = {"main", "/", "seed=3"};
        struct engine_session *session = NULL;
        struct engine_position from, again;
        TM_CLEANUP(buf_release) struct buf first = BUF_INIT;
        TM_CLEANUP(buf_release) struct buf begin = BUF_INIT;
        OK(engine->session_open(&instance, "t", &session, &err));
        OK(engine->snapshot_begin(session, "h", true, &first, &from, &err));
        engine->session_close(session);
        OK(engine->session_open(&instance, "t", &session, &err));
        OK(engine->snapshot_resume(session, "h", true, buf_slice(&first), 5, &begin, &again, &err));
        assert_string_equal(again.text, from.text);
        engine->session_close(session);
        assert_int_equal(begin.len, first.len);
        struct engine_reader *reader = NULL;
        OK(engine->reader_open(&instance, buf_slice(&begin), &reader, &err));
        engine->reader_close(reader);
        if (engine == &null_engine) {
            assert_true(engine->snapshot_resumed(buf_slice(&begin)));
            assert_false(engine->snapshot_resumed(buf_slice(&first)));
        } else {
            assert_null(engine->snapshot_resumed);
        }

        static const struct {
            const char *conninfo, *message;
            int code;
        } cases[] = {
            {"identity=other", "the source is other, the earlier attempt was on ", TM_E_CONFLICT},
            {"fail=resume_conflict", "resume: asked to fail by conninfo", TM_E_CONFLICT},
            {"fail=resume", "resume: asked to fail by conninfo", TM_E_UNAVAILABLE}};
        for (size_t c = 0; c < TM_ARRAY_LEN(cases); c++) {
            instance.conninfo = cases[c].conninfo;
            OK(engine->session_open(&instance, "t", &session, &err));
            assert_int_equal(engine->snapshot_resume(session, NULL, true, buf_slice(&first), 5,
                                                     &begin, &again, &err),
                             -cases[c].code);
            assert_memory_equal(err.msg, cases[c].message, strlen(cases[c].message));
            engine->session_close(session);
        }
    }
}

/* A lasting hold is a file beside the state's; without it nothing can be resumed. */
static void test_resume_hold(void **state)
{
    (void)state;
    char dir[] = "/tmp/null_test.XXXXXX", words[200], path[100];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/state", dir);
    OK(fs_write_atomic(path, slice_str("log=1000"), 0600, &err));
    snprintf(words, sizeof(words), "state=%s", path);
    struct engine_instance instance = {"main", "/", words};
    struct engine_session *session = NULL;
    struct engine_position from;
    TM_CLEANUP(buf_release) struct buf first = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf begin = BUF_INIT;
    OK(null_engine.session_open(&instance, "t", &session, &err));
    OK(null_engine.snapshot_begin(session, "h", true, &first, &from, &err));
    null_engine.session_close(session);
    snprintf(path, sizeof(path), "%s/state.hold.h", dir);
    assert_int_equal(access(path, F_OK), 0);
    OK(null_engine.session_open(&instance, "t", &session, &err));
    OK(null_engine.snapshot_resume(session, "h", true, buf_slice(&first), 5, &begin, &from, &err));
    null_engine.session_close(session);
    assert_int_equal(unlink(path), 0);
    OK(null_engine.session_open(&instance, "t", &session, &err));
    assert_int_equal(
        null_engine.snapshot_resume(session, "h", true, buf_slice(&first), 5, &begin, &from, &err),
        -TM_E_CONFLICT);
    assert_string_equal(err.msg, "hold 'h' is gone");
    null_engine.session_close(session);
    OK(fs_remove_tree(dir, true, &err));
}

static int prove(const char *begin, uint64_t bytes, uint64_t bad)
{
    struct engine_proof *proof = NULL;
    OK(null_engine.proof_open(slice_str(begin), &proof, &err));
    uint8_t *log = malloc(bytes);
    assert_non_null(log);
    OK(null_log_fill(NULL, NULL_LOG_START, log, bytes, &err));
    if (bad < bytes)
        log[bad] ^= 1;
    int r = null_engine.proof_push(proof, slice_of(log, 777), &err);
    if (r == 0)
        r = null_engine.proof_push(proof, slice_of(log + 777, bytes - 777), &err);
    if (r == 0)
        r = null_engine.proof_end(proof, slice_str("null1 end"), &err);
    null_engine.proof_close(proof);
    free(log);
    return r;
}

static void test_proof(void **state)
{
    (void)state;
    assert_int_equal(prove("null2 log=100000", 100000, UINT64_MAX), 0);
    assert_int_equal(prove("null2 log=100000", 100000, 60000), -TM_E_CONFLICT);
    assert_string_equal(err.msg, "the log at 1106697 is not the source's");
    assert_int_equal(prove("null2 log=100000", 99999, UINT64_MAX), -TM_E_CONFLICT);
    assert_string_equal(err.msg, "the log ends at 1148575, but the snapshot at 1148576");
    assert_int_equal(prove("null2 log=100000 fail=proof", 100000, UINT64_MAX), -TM_E_CONFLICT);
    assert_string_equal(err.msg, "proof: asked to fail by conninfo");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges_are_the_whole),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_resume_hold),
        cmocka_unit_test(test_proof),
        cmocka_unit_test(test_mock_ranges_are_the_whole),
        cmocka_unit_test(test_fill_is_a_function_of_place),
        cmocka_unit_test(test_conninfo),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
