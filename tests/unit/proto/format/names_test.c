/* Names: built exactly, parsed only when exact, ordered as numbers are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/format/names.h"

#define ID "20261121T100203Z-0badcafe"

static const uint8_t lineage[16] = {0xde, 0xad, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
static const struct epoch epoch = {0x12, 0x34};

static void test_build(void **state)
{
    (void)state;
    struct repo_scope scope;
    struct tm_err err;
    assert_int_equal(names_scope_set(&scope, "demo1", "main", "7300000000000000001", &err), 0);
    assert_string_equal(names_full(&scope, "x").s, "demo1/main/7300000000000000001/x");
    assert_string_equal(names_identity(&scope).s, "demo1/main/7300000000000000001/identity.mpk");
    assert_string_equal(names_backups_prefix(&scope).s, "demo1/main/7300000000000000001/backup/");
    assert_string_equal(names_backup_prefix(&scope, ID).s,
                        "demo1/main/7300000000000000001/backup/" ID "/");
    assert_string_equal(names_rel_plan(ID, epoch, 5).s,
                        "backup/" ID "/plan/0000000000000012.00000034-00000005");
    assert_string_equal(names_rel_checkpoint(ID, epoch, 5).s,
                        "backup/" ID "/checkpoint/0000000000000012.00000034-00000005");
    assert_string_equal(names_rel_data(ID, 0xabc, epoch).s,
                        "backup/" ID "/data/00000abc-0000000000000012.00000034");
    assert_string_equal(names_rel_backup_log(ID, 0x1000000, epoch).s,
                        "backup/" ID "/log/0000000001000000-0000000000000012.00000034");
    assert_string_equal(names_rel_manifest(ID).s, "backup/" ID "/manifest.mpk");
    assert_string_equal(names_rel_deleted(ID).s, "backup/" ID "/deleted.mpk");
    assert_string_equal(names_rel_lineage(lineage).s,
                        "log/dead0102030405060708090a0b0c0d0e/lineage.mpk");
    assert_string_equal(names_rel_writer(lineage, epoch).s,
                        "log/dead0102030405060708090a0b0c0d0e/writer/0000000000000012.00000034");
    assert_string_equal(names_rel_chunk(lineage, 1, epoch).s,
                        "log/dead0102030405060708090a0b0c0d0e/chunk/0000000000000001-"
                        "0000000000000012.00000034");
    assert_string_equal(names_rel_mark(lineage, 2, epoch, 3).s,
                        "log/dead0102030405060708090a0b0c0d0e/mark/0000000000000002-"
                        "0000000000000012.00000034-00000003");
    assert_string_equal(names_rel_log_index(lineage, 4, epoch).s,
                        "log/dead0102030405060708090a0b0c0d0e/index/0000000000000004-"
                        "0000000000000012.00000034");
    assert_string_equal(names_rel_truncate(epoch, 5).s,
                        "truncate/0000000000000012.00000034-00000005");
    assert_string_equal(names_logs_prefix(&scope).s, "demo1/main/7300000000000000001/log/");
    assert_string_equal(
        names_log_prefix(&scope, lineage, "mark").s,
        "demo1/main/7300000000000000001/log/dead0102030405060708090a0b0c0d0e/mark/");
    assert_string_equal(names_log_prefix(&scope, lineage, "").s,
                        "demo1/main/7300000000000000001/log/dead0102030405060708090a0b0c0d0e/");
}

static void test_largest_fits(void **state)
{
    (void)state;
    char cluster[64];
    char incarnation[65];
    struct repo_scope scope;
    struct tm_err err;
    memset(cluster, 'c', 63);
    cluster[63] = '\0';
    memset(incarnation, 'i', 64);
    incarnation[64] = '\0';
    assert_int_equal(names_scope_set(&scope, cluster, cluster, incarnation, &err), 0);
    struct epoch top = {UINT64_MAX, UINT32_MAX};
    struct full_name name = names_full(&scope, names_rel_chunk(lineage, UINT64_MAX, top).s);
    assert_true(storage_name_valid(name.s));
    assert_int_equal(names_parse_rel(names_rel_chunk(lineage, UINT64_MAX, top).s).kind, NAME_CHUNK);
}

static void test_parse(void **state)
{
    (void)state;
    struct name_parts p = names_parse_rel(names_rel_data(ID, 77, epoch).s);
    assert_int_equal(p.kind, NAME_DATA);
    assert_string_equal(p.backup_id, ID);
    assert_int_equal(p.number, 77);
    assert_int_equal(epoch_cmp(p.epoch, epoch), 0);
    p = names_parse_rel(names_rel_backup_log(ID, 0x123456789abcdef0, epoch).s);
    assert_int_equal(p.kind, NAME_BACKUP_LOG);
    assert_int_equal(p.from, 0x123456789abcdef0);
    assert_int_equal(names_parse_rel(names_rel_plan(ID, epoch, 1).s).kind, NAME_PLAN);
    assert_int_equal(names_parse_rel(names_rel_checkpoint(ID, epoch, 1).s).kind, NAME_CHECKPOINT);
    assert_int_equal(names_parse_rel(names_rel_manifest(ID).s).kind, NAME_MANIFEST);
    assert_int_equal(names_parse_rel(names_rel_deleted(ID).s).kind, NAME_DELETED);
    assert_int_equal(names_parse_rel(names_rel_lineage(lineage).s).kind, NAME_LINEAGE);
    p = names_parse_rel(names_rel_claim(lineage, epoch).s);
    assert_int_equal(p.kind, NAME_CLAIM);
    assert_int_equal(epoch_cmp(p.epoch, epoch), 0);
    assert_memory_equal(p.lineage, lineage, sizeof(lineage));
    p = names_parse_rel(names_rel_writer(lineage, epoch).s);
    assert_int_equal(p.kind, NAME_WRITER);
    assert_memory_equal(p.lineage, lineage, 16);
    p = names_parse_rel(names_rel_mark(lineage, 0xfedcba9876543210, epoch, 9).s);
    assert_int_equal(p.kind, NAME_MARK);
    assert_memory_equal(p.lineage, lineage, 16);
    assert_int_equal(p.from, 0xfedcba9876543210);
    assert_int_equal(epoch_cmp(p.epoch, epoch), 0);
    assert_int_equal(p.number, 9);
    p = names_parse_rel(names_rel_log_index(lineage, 77, epoch).s);
    assert_int_equal(p.kind, NAME_LOG_INDEX);
    assert_int_equal(p.from, 77);
    p = names_parse_rel(names_rel_truncate(epoch, 6).s);
    assert_int_equal(p.kind, NAME_TRUNCATE);
    assert_int_equal(p.number, 6);
    assert_int_equal(epoch_cmp(p.epoch, epoch), 0);
    const char *other[] = {
        "",
        "backup",
        "backup/",
        "backup/" ID,
        "backup/" ID "/",
        "backup/" ID "/manifest.mpk2",
        "backup/" ID "/data/00000abc-0000000000000012.0000003",
        "backup/" ID "/data/00000abc-0000000000000012.000000345",
        "backup/" ID "/data/00000ABC-0000000000000012.00000034",
        "backup/" ID "/data/00000abc-0000000000000012-00000034",
        "backup/" ID "/plan/0000000000000012.00000034-0000000",
        "backup/" ID "x/manifest.mpk",
        "backup/20261121T100203Z-0badcafX/manifest.mpk",
        "log/dead/lineage.mpk",
        "log/dead0102030405060708090a0b0c0d0E/lineage.mpk",
        "identity.mpk",
        "intent/x",
        "truncate/",
        "truncate/0000000000000012.00000034",
        "truncate/0000000000000012.00000034-000000055",
        "log/dead0102030405060708090a0b0c0d0e/mark/0000000000000002-0000000000000012.00000034",
        "log/dead0102030405060708090a0b0c0d0e/mark/0000000000000002",
        "log/dead0102030405060708090a0b0c0d0e/index/0000000000000004-0000000000000012.0000003",
        "log/dead0102030405060708090a0b0c0d0e/compacted/x",
    };
    for (size_t i = 0; i < TM_ARRAY_LEN(other); i++) {
        p = names_parse_rel(other[i]);
        assert_int_equal(p.kind, NAME_OTHER);
        assert_int_equal(p.number, 0);
        assert_string_equal(p.backup_id, "");
    }
}

static void test_order(void **state)
{
    (void)state;
    const uint64_t terms[] = {0, 1, 9, 10, 255, 256, UINT32_MAX, UINT64_MAX};
    for (size_t i = 1; i < TM_ARRAY_LEN(terms); i++) {
        struct rel_name low = names_rel_data(ID, 1, (struct epoch){terms[i - 1], UINT32_MAX});
        struct rel_name high = names_rel_data(ID, 1, (struct epoch){terms[i], 0});
        assert_true(strcmp(low.s, high.s) < 0);
        assert_int_equal(
            epoch_cmp((struct epoch){terms[i - 1], UINT32_MAX}, (struct epoch){terms[i], 0}), -1);
    }
    assert_true(strcmp(names_rel_data(ID, 9, epoch).s, names_rel_data(ID, 10, epoch).s) < 0);
    assert_int_equal(epoch_cmp((struct epoch){1, 2}, (struct epoch){1, 1}), 1);
}

static void test_parts(void **state)
{
    (void)state;
    struct repo_scope scope = {.cluster = "before"};
    struct tm_err err;
    const char *bad[] = {"",    ".",   "..",       ".x",    "-x",          "a/b",
                         "a b", "a:b", "\xc3\xa4", "a.mpk", "tidemark.mpk"};
    for (size_t i = 0; i < TM_ARRAY_LEN(bad); i++)
        assert_false(names_part_valid(bad[i], 63));
    assert_true(names_part_valid("A_b-c.d=e+f", 63));
    assert_false(names_part_valid("abcd", 3));
    assert_int_equal(names_scope_set(&scope, "a/b", "main", "1", &err), -TM_E_INVALID);
    assert_string_equal(
        err.msg, "cluster name 'a/b' is not valid: 1 to 63 of letters, digits and . _ = + -, "
                 "starting with a letter, digit or _");
    assert_int_equal(names_scope_set(&scope, "a", "main", "", &err), -TM_E_INVALID);
    assert_string_equal(
        err.msg, "incarnation name '' is not valid: 1 to 64 of letters, digits and . _ = + -, "
                 "starting with a letter, digit or _");
    assert_string_equal(scope.cluster, "before");
}

static void test_backup_id(void **state)
{
    (void)state;
    char id[NAMES_BACKUP_ID_LEN + 1];
    names_backup_id(INT64_C(1795255323999999), 0x0badcafe, id);
    assert_string_equal(id, "20261121T100203Z-0badcafe");
    names_backup_id(0, 0, id);
    assert_string_equal(id, "19700101T000000Z-00000000");
    assert_true(names_backup_id_valid(id));
    const char *bad[] = {"",
                         "20261121T100203Z-0badcaf",
                         "20261121T100203Z-0badcafe0",
                         "20261121T100203Z-0BADCAFE",
                         "20261121 100203Z-0badcafe",
                         "2026112aT100203Z-0badcafe"};
    for (size_t i = 0; i < TM_ARRAY_LEN(bad); i++)
        assert_false(names_backup_id_valid(bad[i]));
}

static void test_lineage_text(void **state)
{
    (void)state;
    char text[33];
    uint8_t back[16];
    names_lineage_text(lineage, text);
    assert_string_equal(text, "dead0102030405060708090a0b0c0d0e");
    assert_true(names_lineage_parse(text, back));
    assert_memory_equal(back, lineage, 16);
    assert_false(names_lineage_parse("dead", back));
    assert_false(names_lineage_parse("dead0102030405060708090a0b0c0d0e0", back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_build),        cmocka_unit_test(test_largest_fits),
        cmocka_unit_test(test_parse),        cmocka_unit_test(test_order),
        cmocka_unit_test(test_parts),        cmocka_unit_test(test_backup_id),
        cmocka_unit_test(test_lineage_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
