/* The catalog: repository and identity objects, and what lies where. */
#include "proto/repo/catalog.h"
#include "tests/unit/proto/repo/fixture.h"

#define ID_A "20261121T100000Z-0000000a"
#define ID_B "20261121T110000Z-0000000b"
#define ID_C "20261121T120000Z-0000000c"

static const uint8_t nonce[16] = "nonce";

/* ---- repository, identity ---- */

static void test_repository(void **state)
{
    struct fixture *f = *state;
    struct repository repo;
    const uint8_t other[16] = "other";
    assert_int_equal(repository_read(f->scratch[0], f->st, &repo, &f->err), -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg,
                        "'ram://t' is not a Tidemark repository: it has no 'tidemark.mpk'");
    assert_int_equal(repository_open(f->scratch[0], f->st, nonce, 77, &repo, &f->err), 0);
    assert_int_equal(repository_open(f->scratch[0], f->st, other, 78, &repo, &f->err), 0);
    assert_memory_equal(repo.id, nonce, 16);
    assert_int_equal(repo.created_us, 77);
    const char *name = NAMES_REPOSITORY;
    assert_int_equal(storage_remove(f->st, &name, 1, &f->err), 0);
    struct repository newer = {.version = 2};
    struct object_info info;
    assert_int_equal(record_put(f->scratch[0], f->st, name, OBJECT_REPOSITORY, nonce,
                                &repository_codec, &newer, &info, &f->err),
                     0);
    assert_int_equal(repository_read(f->scratch[0], f->st, &repo, &f->err), -TM_E_UNSUPPORTED);
    assert_string_equal(f->err.msg,
                        "repository 'ram://t' has format version 2, this Tidemark knows 1");
}

static void test_identity(void **state)
{
    struct fixture *f = *state;
    struct identity mine = {
        .cluster = "demo1", .tenant = "main", .incarnation = "42", .engine = "postgres"};
    assert_int_equal(identity_ensure(f->scratch[0], f->st, &mine, nonce, &f->err), 0);
    mine.created_us = 5; /* the time does not matter */
    assert_int_equal(identity_ensure(f->scratch[0], f->st, &mine, nonce, &f->err), 0);
    memcpy(mine.engine, "etcd", 5);
    assert_int_equal(identity_ensure(f->scratch[0], f->st, &mine, nonce, &f->err), -TM_E_REFUSED);
    assert_string_equal(
        f->err.msg, "'ram://t' holds data of postgres cluster demo1/main with identity 42 under "
                    "the name of etcd cluster demo1/main with identity 42: use another prefix");
}

/* ---- catalog ---- */

static void put(struct fixture *f, const char *name)
{
    assert_int_equal(storage_put(f->st, name, SLICE_EMPTY, &f->err), 0);
}

static void test_children(void **state)
{
    struct fixture *f = *state;
    struct name_list list = NAME_LIST_INIT;
    const char *names[] = {"tidemark.mpk", "a/x/1/o", "a/x/2/o", "a-b/o/o",
                           "a/y",          "a0/o",    "b/.o/o"};
    for (size_t i = 0; i + 1 < TM_ARRAY_LEN(names); i++)
        put(f, names[i]);
    assert_int_equal(catalog_children(f->st, "", &list, &f->err), 0);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.items[0], "a-b");
    assert_string_equal(list.items[1], "a");
    assert_string_equal(list.items[2], "a0");
    name_list_release(&list);
    assert_int_equal(catalog_children(f->st, "a/", &list, &f->err), 0);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.items[0], "x");
    name_list_release(&list);
    assert_int_equal(catalog_children(f->st, "none/", &list, &f->err), 0);
    assert_int_equal(list.count, 0);
    name_list_release(&list);
}

static void test_backups(void **state)
{
    struct fixture *f = *state;
    struct backup_list list = BACKUP_LIST_INIT;
    put(f, "demo1/main/42/backup/" ID_C "/data/x");
    put(f, "demo1/main/42/backup/" ID_A "/manifest.mpk");
    put(f, "demo1/main/42/backup/" ID_B "/manifest.mpk");
    put(f, "demo1/main/42/backup/" ID_B "/deleted.mpk");
    put(f, "demo1/main/42/backup/not-a-backup/manifest.mpk");
    put(f, "demo1/main/42/backup2/" ID_A "/manifest.mpk");
    assert_int_equal(catalog_backups(f->st, &f->scope, &list, &f->err), 0);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.items[0].id, ID_A);
    assert_string_equal(backup_state_text(list.items[0].state), "committed");
    assert_string_equal(list.items[1].id, ID_B);
    assert_string_equal(backup_state_text(list.items[1].state), "deleted");
    assert_string_equal(list.items[2].id, ID_C);
    assert_string_equal(backup_state_text(list.items[2].state), "unfinished");
    backup_list_release(&list);
    enum backup_state s;
    assert_int_equal(catalog_backup_state(f->st, &f->scope, "x", &s, &f->err), -TM_E_INVALID);
    assert_string_equal(f->err.msg, "'x' is not a backup id");
    struct ram_faults faults = {.fail_op[RAM_STAT] = 2, .fail_code = TM_E_UNAVAILABLE};
    ram_set_faults(f->st, &faults);
    assert_int_equal(catalog_backups(f->st, &f->scope, &list, &f->err), -TM_E_UNAVAILABLE);
}

static void test_resolve(void **state)
{
    struct fixture *f = *state;
    struct repo_scope scope;
    struct object_scratch *s = f->scratch[0];
    assert_int_equal(catalog_resolve(s, f->st, "demo1", NULL, NULL, &scope, &f->err),
                     -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, "'ram://t' holds no cluster");
    const char *incarnations[] = {"41", "42", "43"};
    for (int i = 0; i < 3; i++) {
        struct identity id = {.cluster = "demo1",
                              .tenant = "main",
                              .engine = "mock",
                              .created_us = i == 0 ? 9 : i}; /* 41 is the newest */
        memcpy(id.incarnation, incarnations[i], 3);
        assert_int_equal(identity_ensure(s, f->st, &id, nonce, &f->err), 0);
    }
    assert_int_equal(catalog_resolve(s, f->st, "demo1", NULL, NULL, &scope, &f->err),
                     -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg,
                        "'ram://t' holds no finished backup of demo1/main" CATALOG_ELSEWHERE);
    put(f, "demo1/main/42/backup/" ID_A "/manifest.mpk");
    put(f, "demo1/main/43/backup/" ID_A "/manifest.mpk");
    assert_int_equal(catalog_resolve(s, f->st, "demo1", NULL, NULL, &scope, &f->err), 0);
    assert_string_equal(scope.incarnation, "43");
    put(f, "demo1/main/41/backup/" ID_A "/manifest.mpk");
    assert_int_equal(catalog_resolve(s, f->st, "demo1", "main", NULL, &scope, &f->err), 0);
    assert_string_equal(scope.incarnation, "41");
    assert_int_equal(catalog_resolve(s, f->st, "demo1", "main", "42", &scope, &f->err), 0);
    assert_string_equal(scope.incarnation, "42");
    assert_int_equal(catalog_resolve(s, f->st, "demo2", NULL, NULL, &scope, &f->err),
                     -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, "'ram://t' holds no cluster 'demo2': there is demo1");
    assert_int_equal(catalog_resolve(s, f->st, "demo1", "x", NULL, &scope, &f->err),
                     -TM_E_NOT_FOUND);
    assert_string_equal(f->err.msg, "cluster 'demo1' has no tenant 'x': there is main");
    put(f, "demo3/a/1/x");
    put(f, "demo3/b/1/x");
    assert_int_equal(catalog_resolve(s, f->st, "demo3", NULL, NULL, &scope, &f->err),
                     -TM_E_INVALID);
    assert_string_equal(f->err.msg, "cluster 'demo3' has several tenants, name one of: a, b");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_repository), T(test_identity), T(test_children), T(test_backups), T(test_resolve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
