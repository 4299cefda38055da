#ifndef TM_TESTS_UNIT_PROTO_REPO_LOG_FIXTURE_H
#define TM_TESTS_UNIT_PROTO_REPO_LOG_FIXTURE_H
/*
 * Logs and backups for tests, written with the format alone.
 *
 * A log's segments are 1024 bytes; a record begins at every multiple of 16 and has 16 bytes. What a
 * byte is follows from its place and the branch's id; a child has its parent's bytes before the
 * fork. Positions are written as position_mark and the byte.
 */
#include <stdio.h>

#include "common/hash.h"
#include "common/parse.h"
#include "proto/format/chunk.h"
#include "proto/repo/logs.h"
#include "tests/unit/proto/repo/fixture.h"

#define SEG    UINT64_C(1024)
#define SECOND INT64_C(1000000)
#define RECORD UINT64_C(16)

static const uint8_t nonce[16] = "nonce";

struct test_branch {
    struct lineage record;
    const struct test_branch *parent;
    struct log_digest digest;
    bool digesting;
};

static TM_UNUSED uint8_t log_byte(const struct test_branch *b, uint64_t at)
{
    while (b->parent != NULL && at < b->record.fork)
        b = b->parent;
    return (uint8_t)((at * 31 + (at >> 8)) ^ b->record.id[0]);
}

static const char *position_mark = "@"; /* "": as the null engine writes them */

static TM_UNUSED void put_lineage(struct fixture *f, struct test_branch *b)
{
    struct object_info info;
    if (b->parent != NULL)
        memcpy(b->record.parent, b->parent->record.id, 16);
    struct rel_name rel = names_rel_lineage(b->record.id);
    assert_int_equal(record_put(f->scratch[0], f->st, names_full(&f->scope, rel.s).s,
                                OBJECT_LINEAGE, nonce, &lineage_codec, &b->record, &info, &f->err),
                     0);
}

static TM_UNUSED void put_writer(struct fixture *f, const struct test_branch *b, uint32_t counter,
                                 uint64_t from)
{
    struct object_info info;
    struct log_writer writer = {.term = 1, .counter = counter, .from = from};
    memcpy(writer.lineage, b->record.id, 16);
    struct rel_name rel = names_rel_writer(b->record.id, (struct epoch){1, counter});
    assert_int_equal(record_put(f->scratch[0], f->st, names_full(&f->scope, rel.s).s, OBJECT_WRITER,
                                nonce, &log_writer_codec, &writer, &info, &f->err),
                     0);
}

static TM_UNUSED void put_mark(struct fixture *f, const struct test_branch *b, uint64_t at,
                               uint32_t counter, uint32_t seq, int64_t time_us)
{
    struct object_info info;
    struct log_mark mark = {.at = at, .time_us = time_us, .term = 1, .counter = counter};
    memcpy(mark.lineage, b->record.id, 16);
    struct rel_name rel = names_rel_mark(b->record.id, at, (struct epoch){1, counter}, seq);
    assert_int_equal(record_put(f->scratch[0], f->st, names_full(&f->scope, rel.s).s, OBJECT_MARK,
                                nonce, &log_mark_codec, &mark, &info, &f->err),
                     0);
}

/* What a test wants in a chunk beside its bytes. */
struct extra {
    const struct log_point *events;
    size_t count;
    int64_t mark_us; /* at its end */
};

static TM_UNUSED struct log_ref put_log(struct fixture *f, struct test_branch *b,
                                        const char *backup_id, uint64_t from, uint64_t to,
                                        uint32_t counter, const struct extra *extra)
{
    struct chunk_writer cw = CHUNK_WRITER_INIT;
    struct events_writer ew = EVENTS_WRITER_INIT;
    struct epoch epoch = {1, counter};
    struct log_chunk root = {.from = from, .term = 1, .counter = counter};
    struct rel_name rel = backup_id ? names_rel_backup_log(backup_id, from, epoch)
                                    : names_rel_chunk(b->record.id, from, epoch);
    struct log_ref ref;
    struct object_info info;
    uint8_t *bytes = malloc((size_t)(to - from));
    for (uint64_t at = from; at < to; at++)
        bytes[at - from] = log_byte(b, at);
    memcpy(root.lineage, b->record.id, 16);
    if (backup_id)
        root.lineage[15] ^= 0xff; /* a backup's own log has a lineage of its own */
    memcpy(root.label, b->record.label, sizeof(root.label));
    if (!backup_id && b->digesting && b->digest.position != from) {
        log_digest_release(&b->digest);
        b->digesting = false;
    }
    if (!backup_id && !b->digesting && from % SEG == 0) {
        assert_int_equal(log_digest_init(&b->digest, SEG, from, NULL, &f->err), 0);
        b->digesting = true;
    }
    assert_int_equal(chunk_writer_open(&cw, f->scratch[0], f->st, names_full(&f->scope, rel.s).s,
                                       &root, 1, nonce,
                                       !backup_id && b->digesting ? &b->digest : NULL, &f->err),
                     0);
    cw.root.segment_bytes = SEG;
    assert_int_equal(chunk_writer_data(&cw, slice_of(bytes, (size_t)(to - from)), &f->err), 0);
    for (size_t i = 0; extra != NULL && i < extra->count; i++)
        assert_int_equal(events_writer_add(&ew, &extra->events[i], &f->err), 0);
    if (extra != NULL && extra->mark_us != 0)
        assert_int_equal(chunk_writer_mark(&cw, to, extra->mark_us, &f->err), 0);
    if (!backup_id)
        assert_int_equal(
            chunk_writer_events(&cw, &ew, to >= RECORD ? (to / RECORD - 1) * RECORD : 0, &f->err),
            0);
    assert_int_equal(chunk_writer_finish(&cw, rel.s, &ref, &info, &f->err), 0);
    ref.task = !backup_id;
    chunk_writer_release(&cw);
    events_writer_release(&ew);
    free(bytes);
    return ref;
}

static TM_UNUSED struct log_ref put_chunk(struct fixture *f, struct test_branch *b, uint64_t from,
                                          uint64_t to, uint32_t counter, const struct extra *extra)
{
    return put_log(f, b, NULL, from, to, counter, extra);
}

static TM_UNUSED void branch_done(struct test_branch *b)
{
    log_digest_release(&b->digest);
    b->digesting = false;
}

/* When put_backup's backups are settled; 0 = at their commit time. */
static int64_t settled_us;

/* A committed backup with these log objects, consistent at `at`; replay begins at its segment. */
static TM_UNUSED void put_backup(struct fixture *f, struct storage *st, const char *id,
                                 const struct test_branch *b, uint64_t at, int64_t commit_us,
                                 const struct log_ref *refs, size_t count)
{
    struct manifest_writer mw = MANIFEST_WRITER_INIT;
    struct object_info info;
    uint8_t bytes[8];
    be64_put(bytes, at);
    struct position position = {.bytes = slice_of(bytes, 8)};
    (void)snprintf(position.text, sizeof(position.text), "%s%llu", position_mark,
                   (unsigned long long)at);
    struct manifest root = {.engine = "mock",
                            .kind = BACKUP_FULL,
                            .term = 3,
                            .counter = 1000,
                            .commit_us = commit_us,
                            .settled_us = settled_us,
                            .consistent_at = &position,
                            .log_from = at - at % SEG,
                            .log_to = at};
    memcpy(root.backup_id, id, sizeof(root.backup_id));
    memcpy(root.cluster, f->scope.cluster, sizeof(root.cluster));
    memcpy(root.tenant, f->scope.tenant, sizeof(root.tenant));
    memcpy(root.incarnation, f->scope.incarnation, sizeof(root.incarnation));
    memcpy(root.lineage_label, b->record.label, sizeof(b->record.label));
    memcpy(root.lineage, b->record.id, 16);
    if (count > 0)
        root.log_from = TM_MIN(root.log_from, refs[0].from);
    assert_int_equal(manifest_writer_open(&mw, f->scratch[2], st, &f->scope, id, nonce, &f->err),
                     0);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(manifest_writer_log(&mw, &refs[i], &f->err), 0);
    assert_int_equal(manifest_writer_commit(&mw, &root, &info, &f->err), 0);
    manifest_writer_release(&mw);
}

static void position_text(uint64_t byte, char ret[FORMAT_POSITION_MAX])
{
    (void)snprintf(ret, FORMAT_POSITION_MAX, "%s%llu", position_mark, (unsigned long long)byte);
}

static int position_parse(const char *text, uint64_t *ret_byte, struct tm_err *err)
{
    if (strncmp(text, position_mark, strlen(position_mark)) != 0)
        return tm_err_set(err, TM_E_INVALID, "'%s' is not a position", text);
    return parse_u64(text + strlen(position_mark), ret_byte, err);
}

static TM_UNUSED const struct log_positions test_positions = {.text = position_text,
                                                              .parse = position_parse};

static TM_UNUSED void remove_chunk(struct fixture *f, const struct test_branch *b, uint64_t from,
                                   uint32_t counter)
{
    struct full_name name =
        names_full(&f->scope, names_rel_chunk(b->record.id, from, (struct epoch){1, counter}).s);
    const char *gone = name.s;
    assert_int_equal(storage_remove(f->st, &gone, 1, &f->err), 0);
}

static TM_UNUSED void damage_chunk(struct fixture *f, const struct test_branch *b, uint64_t from,
                                   uint32_t counter)
{
    size_t len = 0;
    uint8_t *bytes = ram_bytes(
        f->st,
        names_full(&f->scope, names_rel_chunk(b->record.id, from, (struct epoch){1, counter}).s).s,
        &len);
    bytes[len - 70] ^= 1; /* in the footer */
}

#endif
