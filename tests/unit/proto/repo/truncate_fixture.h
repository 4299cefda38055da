#ifndef TM_TESTS_UNIT_PROTO_REPO_TRUNCATE_FIXTURE_H
#define TM_TESTS_UNIT_PROTO_REPO_TRUNCATE_FIXTURE_H
/* What the tests of truncating share: one lineage with two backups, and looks at what is left of it. */
#include "tests/unit/proto/repo/log_fixture.h"

#define ID_A    "20261121T100000Z-0000000a"
#define ID_B    "20261121T110000Z-0000000b"
#define ID_C    "20261121T120000Z-0000000c"
#define NOW     (INT64_C(1795260000) * SECOND) /* 2026-11-21T11:20:00Z */
#define START_B (INT64_C(1795258800) * SECOND)

static struct log_ref story_chunks[16];
static int64_t b_settled_us;

/* Chunks of 256 bytes up to 4096, a mark each; backup A consistent at 64, B at 2112. */
static TM_UNUSED void put_story(struct fixture *f, struct test_branch *b)
{
    struct log_ref *refs = story_chunks;
    *b = (struct test_branch){.record = {.id = "p", .label = "1", .created_us = 1}};
    put_lineage(f, b);
    put_writer(f, b, 1, 0);
    for (uint64_t i = 0; i < 16; i++)
        refs[i] = put_chunk(f, b, i * 256, i * 256 + 256, 1,
                            &(struct extra){.mark_us = (int64_t)(i + 1) * SECOND});
    put_backup(f, f->st, ID_A, b, 64, SECOND / 2, refs, 1);
    settled_us = b_settled_us;
    put_backup(f, f->st, ID_B, b, 2112, 9 * SECOND, refs + 8, 1);
    settled_us = 0;
}

static TM_UNUSED const char *intervals(struct fixture *f)
{
    static char text[600];
    struct recoverable_list list = RECOVERABLE_LIST_INIT;
    size_t used = 0;
    text[0] = '\0';
    assert_int_equal(
        log_recoverable(f->scratch, f->st, f->st, &f->scope, &test_positions, &list, &f->err), 0);
    for (size_t i = 0; i < list.count; i++)
        used +=
            (size_t)snprintf(text + used, sizeof(text) - used, "%s%s %s %s-%s%s", i > 0 ? "; " : "",
                             list.items[i].backup_id + 24, (const char *)list.items[i].lineage,
                             list.items[i].from_position, list.items[i].to_position,
                             list.items[i].abandoned ? " abandoned" : "");
    recoverable_list_release(&list);
    return text;
}

/* How many objects lie in one room of a lineage. */
static TM_UNUSED size_t room_count(struct fixture *f, const struct test_branch *b, const char *room)
{
    struct storage_iter *it = NULL;
    struct storage_object object;
    size_t count = 0;
    assert_int_equal(
        storage_list(f->st, names_log_prefix(&f->scope, b->record.id, room).s, NULL, &it, &f->err),
        0);
    while (storage_iter_next(it, &object, &f->err) > 0)
        count++;
    storage_iter_free(it);
    return count;
}

static TM_UNUSED int cut_log(struct fixture *f, const struct log_truncate *wish,
                             struct log_truncate_result *result)
{
    struct log_truncate full = *wish;
    full.epoch = (struct epoch){1, 7};
    full.now_us = full.now_us != 0 ? full.now_us : NOW;
    full.node = "db-a";
    return log_truncate_run(f->scratch, f->st, f->st, &f->scope, &test_positions, &full, nonce,
                            result, &f->err);
}

static TM_UNUSED void delete_backup(struct fixture *f, const char *id)
{
    struct rel_name rel = names_rel_deleted(id);
    assert_int_equal(storage_put(f->st, names_full(&f->scope, rel.s).s, SLICE_EMPTY, &f->err), 0);
}

#endif
