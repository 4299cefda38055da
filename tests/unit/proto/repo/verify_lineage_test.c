/* The log of a lineage read again: every object by its digests, all of them by the digest that runs over
 * them, and what lies there and does not count. */
#include "proto/repo/verify.h"
#include "tests/unit/proto/repo/log_fixture.h"

#define CHUNK(from) "log/61000000000000000000000000000000/chunk/" from "-0000000000000001.00000001"

struct told {
    char text[1000];
    size_t used;
};

static int tell_object(void *arg, const char *name, uint64_t stored_bytes, const struct tm_err *err)
{
    struct told *t = arg;
    assert_true(stored_bytes > 0 || err != NULL);
    assert_int_equal(strncmp(name, "log/", 4), 0);
    if (err != NULL)
        t->used += (size_t)snprintf(t->text + t->used, sizeof(t->text) - t->used, "%s; ", err->msg);
    return 0;
}

static void tell_gap(void *arg, uint64_t from, uint64_t to)
{
    struct told *t = arg;
    t->used += (size_t)snprintf(t->text + t->used, sizeof(t->text) - t->used, "gap %llu-%llu; ",
                                (unsigned long long)from, (unsigned long long)to);
}

/* "errors and gaps; objects/bad, boundaries" */
static const char *verified(struct fixture *f)
{
    static struct told told;
    struct log_lineages list = LOG_LINEAGES_INIT;
    struct verify_log_totals totals = {0};
    const struct verify_lineage_calls calls = {
        .object = tell_object, .gap = tell_gap, .arg = &told};
    told = (struct told){.used = 0};
    assert_int_equal(log_lineages_read(f->scratch[0], f->st, &f->scope, &list, &f->err), 0);
    assert_int_equal(list.count, 1);
    assert_int_equal(
        verify_lineage(f->scratch, f->st, &f->scope, &list.items[0], &calls, &totals, &f->err), 0);
    log_lineages_release(&list);
    (void)snprintf(told.text + told.used, sizeof(told.text) - told.used, "%llu/%llu, %llu",
                   (unsigned long long)totals.objects, (unsigned long long)totals.bad,
                   (unsigned long long)totals.boundaries);
    return told.text;
}

/* Five chunks without a gap, over the boundaries 1024 to 5120. */
static void put_five(struct fixture *f, struct test_branch *b)
{
    *b = (struct test_branch){.record = {.id = "a", .label = "1"}};
    put_lineage(f, b);
    put_writer(f, b, 1, 0);
    put_chunk(f, b, 0, 1000, 1, NULL);
    put_chunk(f, b, 1000, 1100, 1, NULL);
    put_chunk(f, b, 1100, 3000, 1, NULL);
    put_chunk(f, b, 3000, 4000, 1, NULL);
    put_chunk(f, b, 4000, 5200, 1, NULL);
}

static uint8_t *bytes_of(struct fixture *f, const struct test_branch *b, uint64_t from,
                         size_t *ret_len)
{
    struct rel_name rel = names_rel_chunk(b->record.id, from, (struct epoch){1, 1});
    return ram_bytes(f->st, names_full(&f->scope, rel.s).s, ret_len);
}

/* The first boundary of the run is where the digest begins; those behind are compared. */
static void test_good(void **state)
{
    struct fixture *f = *state;
    struct test_branch b;
    put_five(f, &b);
    assert_string_equal(verified(f), "5/0, 4");
    /* behind a gap the digest begins anew */
    put_chunk(f, &b, 7168, 9300, 1, NULL);
    put_chunk(f, &b, 9300, 10300, 1, NULL);
    assert_string_equal(verified(f), "gap 5200-7168; 7/0, 6");
    branch_done(&b);
}

static void test_damaged(void **state)
{
    struct fixture *f = *state;
    struct test_branch b;
    size_t len = 0;
    put_five(f, &b);
    bytes_of(f, &b, 1100, &len)[200] ^= 1;
    const char *text = verified(f);
    assert_non_null(strstr(text, "log: '" CHUNK("000000000000044c") "': "));
    assert_non_null(strstr(text, "; 5/1, "));
    bytes_of(f, &b, 1100, &len)[200] ^= 1;
    assert_string_equal(verified(f), "5/0, 4");
    /* its footer: it does not count any more, and is named all the same */
    bytes_of(f, &b, 3000, &len)[len - 70] ^= 1;
    text = verified(f);
    assert_int_equal(strncmp(text, "gap 3000-4000; ", 15), 0);
    assert_non_null(strstr(text, CHUNK("0000000000000bb8")));
    assert_non_null(strstr(text, "; 5/1, "));
    branch_done(&b);
}

/* Each object is whole, and one of them has another log's bytes. */
static void test_other_bytes(void **state)
{
    struct fixture *f = *state;
    struct test_branch b;
    struct test_branch other = {.record = {.id = "b"}};
    put_five(f, &b);
    remove_chunk(f, &b, 3000, 1);
    put_chunk(f, &b, 3000, 4000, 1, NULL); /* tells no digest at 3072, and is right all the same */
    assert_string_equal(verified(f), "5/0, 3");
    remove_chunk(f, &b, 3000, 1);
    b.parent = &other;
    b.record.fork = 10000;
    put_chunk(f, &b, 3000, 4000, 1, NULL);
    assert_string_equal(
        verified(f),
        "log: '" CHUNK(
            "0000000000000fa0") "': its bytes, and those "
                                "before, do not have the digest that it tells at 4096; 5/1, 1");
    branch_done(&b);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_good),
        T(test_damaged),
        T(test_other_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
