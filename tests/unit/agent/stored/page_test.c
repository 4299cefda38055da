/* What a storage holds, page by page: what is told of each thing, and that nothing is told twice or left out. */
#include "agent/stored/stored.h"
#include "proto/repo/catalog.h"
#include "tests/unit/proto/repo/fixture.h"

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#define ID_A "20261121T100000Z-0000000a"
#define ID_B "20261121T110000Z-0000000b"
#define ID_C "20261121T120000Z-0000000c"
#define ID_D "20261121T130000Z-0000000d"

static const uint8_t nonce[16] = "nonce";

static void instance(struct fixture *f, const char *cluster)
{
    struct identity mine = {.tenant = "main", .incarnation = "42", .engine = "null"};
    struct repository repo;
    (void)snprintf(mine.cluster, sizeof(mine.cluster), "%s", cluster);
    assert_int_equal(repository_open(f->scratch[0], f->st, nonce, 77, &repo, &f->err), 0);
    assert_int_equal(identity_ensure(f->scratch[0], f->st, &mine, nonce, &f->err), 0);
}

static void keep(struct fixture *f, const char *cluster, const char *uid, uint64_t term)
{
    struct msg_intent want = {.tenant = "main",
                              .incarnation = "42",
                              .term = term,
                              .counter = 1,
                              .resource = slice_str("words")};
    (void)snprintf(want.cluster, sizeof(want.cluster), "%s", cluster);
    (void)snprintf(want.uid, sizeof(want.uid), "%s", uid);
    assert_int_equal(stored_keep(f->st, &want, &f->err), 0);
}

static void put(struct fixture *f, const char *id, const char *below)
{
    char name[256];
    (void)snprintf(name, sizeof(name), "demo1/main/42/backup/%s/%s", id, below);
    assert_int_equal(storage_put(f->st, name, slice_str("x"), &f->err), 0);
}

/* "a:uid a:id/state …" of one page; where the next one goes on is in `after`. */
static const char *page(struct fixture *f, const char *cluster, char after[WIRE_AFTER_MAX + 1],
                        uint64_t *ret_term)
{
    static char text[8192];
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct msg_read want = {.cluster = ""};
    struct msg_page out;
    size_t used = 0;
    (void)snprintf(want.cluster, sizeof(want.cluster), "%s", cluster);
    memcpy(want.after, after, sizeof(want.after));
    assert_int_equal(stored_page(f->st, &want, &arena, &out, &f->err), 0);
    text[0] = '\0';
    for (size_t at = 0; at < out.items_count; at++) {
        const struct msg_stored *one = &out.items[at];
        if (one->intent != NULL)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s:%s ", one->cluster,
                                     one->intent->uid);
        else
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s:%s/%u ", one->cluster,
                                     one->backup_id + 17, one->state);
    }
    memcpy(after, out.after, sizeof(out.after));
    if (ret_term != NULL)
        *ret_term = out.term;
    return text;
}

static void test_no_repository(void **state)
{
    struct fixture *f = *state;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct msg_read want = {.cluster = ""};
    struct msg_page out;
    assert_int_equal(stored_page(f->st, &want, &arena, &out, &f->err), -TM_E_NOT_FOUND);
    instance(f, "demo1");
    (void)snprintf(want.after, sizeof(want.after), "demo1/main/42");
    assert_int_equal(stored_page(f->st, &want, &arena, &out, &f->err), -TM_E_INVALID);
    assert_string_equal(f->err.msg, "'demo1/main/42' is no place in a storage");
}

static void test_what_is_told(void **state)
{
    struct fixture *f = *state;
    char after[WIRE_AFTER_MAX + 1] = "";
    uint64_t term = 0;
    struct tombstone tombstone = {.deleted_us = 5000000, .grace_s = 60, .term = 4};
    struct object_info info;
    instance(f, "demo1");
    keep(f, "demo1", "u1", 3);
    put(f, ID_A, "data/00000000-0000000000000001.00000001"); /* a leftover */
    put(f, ID_B, "manifest.mpk");                            /* not one that can be read */
    memcpy(tombstone.backup_id, ID_C, sizeof(tombstone.backup_id));
    assert_int_equal(record_put(f->scratch[0], f->st, "demo1/main/42/backup/" ID_C "/deleted.mpk",
                                OBJECT_TOMBSTONE, nonce, &tombstone_codec, &tombstone, &info,
                                &f->err),
                     0);
    assert_string_equal(page(f, "", after, &term), "demo1:u1 demo1:0000000a/4 demo1:0000000b/5 ");
    assert_string_equal(after, "");
    assert_int_equal(term, 3);
    put(f, ID_C, "data/00000000-0000000000000001.00000001"); /* and now something is left of it */
    assert_string_equal(page(f, "", after, &term),
                        "demo1:u1 demo1:0000000a/4 demo1:0000000b/5 demo1:0000000c/2 ");
    assert_int_equal(term, 4);
    struct checkpoint checkpoint = {.term = 6, .counter = 1, .started_us = 9};
    memcpy(checkpoint.backup_id, ID_D, sizeof(checkpoint.backup_id));
    assert_int_equal(
        record_put(f->scratch[0], f->st,
                   "demo1/main/42/backup/" ID_D "/checkpoint/0000000000000006.00000001-00000000",
                   OBJECT_CHECKPOINT, nonce, &checkpoint_codec, &checkpoint, &info, &f->err),
        0);
    assert_string_equal(page(f, "demo1", after, &term),
                        "demo1:u1 demo1:0000000a/4 demo1:0000000b/5 demo1:0000000c/2 "
                        "demo1:0000000d/3 ");
    assert_int_equal(term, 6);
}

static void test_a_writers_term(void **state)
{
    struct fixture *f = *state;
    char after[WIRE_AFTER_MAX + 1] = "";
    uint64_t term = 0;
    instance(f, "demo1");
    assert_int_equal(storage_put(f->st,
                                 "demo1/main/42/log/00000000000000000000000000000001/writer/"
                                 "0000000000000063.00000001",
                                 slice_str("x"), &f->err),
                     0);
    assert_string_equal(page(f, "", after, &term), "");
    assert_int_equal(term, 0x63);
}

/* Each once, in order, whatever page it falls on; then the next cluster. */
static void test_pages(void **state)
{
    struct fixture *f = *state;
    char after[WIRE_AFTER_MAX + 1] = "";
    char before[WIRE_AFTER_MAX + 1];
    char all[8192] = "";
    char want[8192] = "";
    size_t used = 0;
    int pages = 0;
    instance(f, "demo1");
    instance(f, "demo2");
    for (unsigned n = 0; n < 100; n++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "u%03u", n);
        keep(f, "demo1", text, 1);
        used += (size_t)snprintf(want + used, sizeof(want) - used, "demo1:%s ", text);
    }
    for (unsigned n = 0; n < 70; n++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "20261121T100000Z-%08x", n);
        put(f, text, "data/00000000-0000000000000001.00000001");
        used += (size_t)snprintf(want + used, sizeof(want) - used, "demo1:%08x/4 ", n);
    }
    keep(f, "demo2", "last", 2);
    (void)snprintf(want + used, sizeof(want) - used, "demo2:last ");
    do {
        size_t len = strlen(all);
        memcpy(before, after, sizeof(before));
        (void)snprintf(all + len, sizeof(all) - len, "%s", page(f, "", after, NULL));
        assert_true(after[0] == '\0' || strcmp(after, before) > 0); /* from words to backups, too */
        pages++;
    } while (after[0] != '\0');
    assert_int_equal(pages, 3);
    assert_string_equal(all, want);
    assert_string_equal(page(f, "demo2", after, NULL), "demo2:last ");
    assert_string_equal(page(f, "demo3", after, NULL), "");
}

/* Storage lists "demo-2/…" before "demo/…", and a page that ends in the second goes on there. */
static void test_clusters_with_one_beginning(void **state)
{
    struct fixture *f = *state;
    char after[WIRE_AFTER_MAX + 1] = "";
    char all[8192] = "";
    char want[8192] = "demo-2:first ";
    char before[WIRE_AFTER_MAX + 1];
    size_t used = strlen(want);
    instance(f, "demo");
    instance(f, "demo-2");
    instance(f, "demo2");
    keep(f, "demo-2", "first", 1);
    for (unsigned n = 0; n < 100; n++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "u%03u", n);
        keep(f, "demo", text, 1);
        used += (size_t)snprintf(want + used, sizeof(want) - used, "demo:%s ", text);
    }
    keep(f, "demo2", "last", 1);
    (void)snprintf(want + used, sizeof(want) - used, "demo2:last ");
    for (int pages = 0; pages < 5 && (pages == 0 || after[0] != '\0'); pages++) {
        size_t len = strlen(all);
        memcpy(before, after, sizeof(before));
        (void)snprintf(all + len, sizeof(all) - len, "%s", page(f, "", after, NULL));
        assert_true(after[0] == '\0' || strcmp(after, before) > 0); /* who asks demands it */
    }
    assert_string_equal(after, "");
    assert_string_equal(all, want);
}

/* What lies below an identity that is damaged is told all the same, and what comes behind it. */
static void test_a_damaged_identity(void **state)
{
    struct fixture *f = *state;
    char after[WIRE_AFTER_MAX + 1] = "";
    const char *identity = "demo1/main/42/identity.mpk";
    instance(f, "demo1");
    instance(f, "demo2");
    keep(f, "demo1", "u1", 1);
    keep(f, "demo2", "u2", 1);
    put(f, ID_A, "manifest.mpk");
    assert_int_equal(storage_remove(f->st, &identity, 1, &f->err), 0);
    assert_string_equal(page(f, "", after, NULL), "demo2:u2 ");
    assert_int_equal(storage_put(f->st, identity, slice_str("damaged"), &f->err), 0);
    assert_string_equal(page(f, "", after, NULL), "demo1:u1 demo1:0000000a/5 demo2:u2 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_no_repository),
                                       T(test_what_is_told),
                                       T(test_a_writers_term),
                                       T(test_pages),
                                       T(test_clusters_with_one_beginning),
                                       T(test_a_damaged_identity)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
