/* Resources kept in storage: the newest counts, older ones go, nothing is overwritten. */
#include "proto/repo/intents.h"
#include "tests/unit/proto/repo/fixture.h"

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

static const uint8_t nonce[16] = "nonce";

static struct repo_scope scope_of(void)
{
    struct repo_scope scope;
    struct tm_err err;
    assert_int_equal(names_scope_set(&scope, "demo1", "main", "42", &err), 0);
    return scope;
}

static int put(struct fixture *f, const char *uid, uint64_t term, uint32_t counter,
               const char *text)
{
    struct repo_scope scope = scope_of();
    struct intent intent = {.term = term, .counter = counter, .resource = slice_str(text)};
    (void)snprintf(intent.uid, sizeof(intent.uid), "%s", uid);
    return intents_put(f->scratch[0], f->st, &scope, &intent, nonce, &f->err);
}

/* "uid-term.counter …" of what is listed behind `after`. */
static const char *listed(struct fixture *f, const char *after)
{
    static char text[256];
    struct repo_scope scope = scope_of();
    struct intents list;
    struct name_parts parts;
    size_t used = 0;
    text[0] = '\0';
    assert_int_equal(intents_open(f->st, &scope, after, &list, &f->err), 0);
    while (intents_next(&list, &parts, &f->err) == 1)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s-%u.%u ", parts.uid,
                                 (unsigned)parts.epoch.term, (unsigned)parts.epoch.counter);
    intents_close(&list);
    return text;
}

static void test_the_newest_counts(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(listed(f, ""), "");
    assert_int_equal(put(f, "a", 1, 5, "first"), 0);
    assert_int_equal(put(f, "ab", 1, 1, "other"), 0);
    assert_int_equal(put(f, "c", 9, 1, "third"), 0);
    assert_string_equal(listed(f, ""), "a-1.5 ab-1.1 c-9.1 ");
    assert_int_equal(put(f, "a", 2, 1, "second"),
                     0); /* another term: above, whatever its counter */
    assert_string_equal(listed(f, ""), "a-2.1 ab-1.1 c-9.1 ");
    assert_string_equal(listed(f, "a"), "ab-1.1 c-9.1 ");
    assert_string_equal(listed(f, "ab"), "c-9.1 ");
    assert_string_equal(listed(f, "c"), "");
}

static void test_the_newest_of_one(void **state)
{
    struct fixture *f = *state;
    struct repo_scope scope = scope_of();
    struct name_parts parts;
    assert_int_equal(intents_newest(f->st, &scope, "a", &parts, &f->err), -TM_E_NOT_FOUND);
    assert_int_equal(put(f, "ab", 7, 1, "other"), 0);
    assert_int_equal(put(f, "a", 3, 1, "newest"), 0);
    assert_int_equal(put(f, "a", 2, 9, "late"), 0);
    assert_int_equal(intents_newest(f->st, &scope, "a", &parts, &f->err), 0);
    assert_string_equal(parts.uid, "a");
    assert_int_equal(parts.epoch.term, 3);
    assert_int_equal(parts.epoch.counter, 1);
}

static void test_a_late_writer(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put(f, "a", 2, 1, "new"), 0);
    assert_int_equal(put(f, "a", 1, 7, "late"), 0); /* an object that counts no more */
    assert_string_equal(listed(f, ""), "a-2.1 ");
    struct storage_object object;
    const char *late = "demo1/main/42/intent/a-0000000000000001.00000007";
    assert_int_equal(storage_stat(f->st, late, &object, &f->err), 0);
    assert_int_equal(put(f, "a", 2, 2, "newer"), 0); /* and goes with the next */
    assert_int_equal(storage_stat(f->st, late, &object, &f->err), -TM_E_NOT_FOUND);
}

static void test_the_same_again(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put(f, "a", 2, 1, "text"), 0);
    assert_int_equal(put(f, "a", 2, 1, "text"), 0);
    assert_int_equal(put(f, "a", 2, 1, "other"), -TM_E_CONFLICT);
    assert_string_equal(f->err.msg, "'demo1/main/42/intent/a-0000000000000002.00000001' in "
                                    "'ram://t' is another resource's");
    assert_int_equal(put(f, "A/b", 2, 1, "text"), -TM_E_INVALID);
    assert_string_equal(f->err.msg, "'A/b' is not the uid of a resource");
}

static void test_removed(void **state)
{
    struct fixture *f = *state;
    struct repo_scope scope = scope_of();
    assert_int_equal(put(f, "a", 2, 1, "text"), 0);
    assert_int_equal(put(f, "a", 1, 1, "older"), 0);
    assert_int_equal(put(f, "ab", 1, 1, "other"), 0);
    assert_int_equal(intents_remove(f->st, &scope, "a", &f->err), 0);
    assert_int_equal(intents_remove(f->st, &scope, "a", &f->err), 0);
    assert_string_equal(listed(f, ""), "ab-1.1 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_the_newest_counts), T(test_the_newest_of_one),
                                       T(test_a_late_writer), T(test_the_same_again),
                                       T(test_removed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
