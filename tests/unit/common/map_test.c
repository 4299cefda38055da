/* The sorted map and the intrusive list, and the basics: buffers and errors. */
#include "common/list.h"
#include "common/map.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "common/buf.h"

static void map_keeps_order(void **state)
{
    (void)state;
    struct tm_err err;
    struct map m = MAP_INIT;
    int values[200];
    char key[16];
    for (int n = 0; n < 200; n++) {
        void *old = &err;
        (void)snprintf(key, sizeof(key), "k%03d", n * 77 % 200);
        assert_int_equal(map_put(&m, key, &values[n * 77 % 200], &old, &err), 0);
        assert_null(old);
    }
    assert_int_equal(m.count, 200);
    for (size_t n = 0; n < m.count; n++)
        assert_ptr_equal(m.entries[n].value, &values[n]);
    assert_ptr_equal(map_get(&m, "k042"), &values[42]);
    assert_null(map_get(&m, "k042x"));
    void *old = NULL;
    assert_int_equal(map_put(&m, "k042", &values[0], &old, &err), 0);
    assert_ptr_equal(old, &values[42]);
    assert_ptr_equal(map_remove(&m, "k042"), &values[0]);
    assert_null(map_remove(&m, "k042"));
    assert_int_equal(map_seek(&m, "k042", 0), 42);
    assert_int_equal(map_seek(&m, "k043", 0), 42);
    assert_int_equal(map_seek(&m, "k043", 1), 43);
    assert_int_equal(map_seek(&m, "z", 0), m.count);
    map_release(&m);
    assert_null(map_get(&m, "k001"));
}

struct item {
    int number;
    struct list_link link;
};

static void list_links_and_unlinks(void **state)
{
    (void)state;
    struct list l;
    struct item items[4] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
    struct item *item;
    struct item *following;
    list_init(&l);
    assert_null(list_pop_front(&l));
    assert_null(LIST_FIRST(&l, struct item, link));
    for (int n = 1; n < 4; n++)
        list_push_back(&l, &items[n].link);
    list_push_front(&l, &items[0].link);
    int expected = 0;
    LIST_FOREACH (item, &l, link)
        assert_int_equal(item->number, expected++);
    assert_int_equal(expected, 4);
    LIST_FOREACH_SAFE (item, following, &l, link)
        if (item->number % 2 == 0)
            list_remove(&l, &item->link);
    list_remove(&l, &items[0].link);
    assert_false(list_linked(&items[0].link));
    assert_int_equal(l.count, 2);
    assert_ptr_equal(LIST_FIRST(&l, struct item, link), &items[1]);
    assert_ptr_equal(list_pop_front(&l), &items[1].link);
    assert_ptr_equal(list_pop_front(&l), &items[3].link);
    assert_true(list_empty(&l));
}

static void buffers(void **state)
{
    (void)state;
    struct tm_err err;
    const char *text = NULL;
    TM_CLEANUP(buf_release) struct buf b = BUF_INIT;
    assert_int_equal(buf_cstr(&b, &text, &err), 0);
    assert_string_equal(text, "");
    assert_int_equal(buf_append(&b, NULL, 0, &err), 0);
    assert_int_equal(buf_append(&b, "ab", 2, &err), 0);
    assert_int_equal(buf_printf(&b, &err, "%d-%s", 7, "x"), 0);
    assert_int_equal(buf_cstr(&b, &text, &err), 0);
    assert_string_equal(text, "ab7-x");
    assert_int_equal(b.len, 5);
    assert_int_equal(buf_reserve(&b, BUF_MAX_LEN, &err), -TM_E_LIMIT);
    assert_string_equal(err.msg, "buffer would exceed 2147483648 bytes");
    assert_true(slice_cmp(slice_str("ab"), slice_str("abc")) < 0);
    assert_true(slice_cmp(slice_str("b"), slice_str("abc")) > 0);
    assert_int_equal(slice_cmp(SLICE_EMPTY, SLICE_EMPTY), 0);
    uint8_t bytes[8];
    be64_put(bytes, UINT64_C(0x0102030405060708));
    assert_memory_equal(bytes, "\1\2\3\4\5\6\7\10", 8);
    assert_true(be64_get(bytes) == UINT64_C(0x0102030405060708));
}

static void errors_read_from_outside_in(void **state)
{
    (void)state;
    struct tm_err err;
    assert_int_equal(tm_err_errno(&err, 13, "cannot stat '%s'", "x"), -TM_E_PERMISSION);
    assert_int_equal(tm_err_prefix(&err, "range %d", 7), -TM_E_PERMISSION);
    assert_string_equal(err.msg, "range 7: cannot stat 'x': Permission denied");
    assert_int_equal(err.os_errno, 13);
    char big[2 * TM_ERR_MSG_MAX];
    memset(big, 'y', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    (void)tm_err_prefix(&err, "%.500s", big);
    assert_int_equal(strlen(err.msg), TM_ERR_MSG_MAX - 1);
    (void)tm_err_set(&err, TM_E_IO, "%s", big);
    assert_int_equal(strlen(err.msg), TM_ERR_MSG_MAX - 1);
    assert_int_equal(tm_err_code_from_wire(999), TM_E_INTERNAL);
    assert_int_equal(tm_err_exit_status(TM_E_NOT_FOUND), 3);
    assert_string_equal(tm_err_code_text(TM_E_NO_SPACE), "no space");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_keeps_order),
        cmocka_unit_test(list_links_and_unlinks),
        cmocka_unit_test(buffers),
        cmocka_unit_test(errors_read_from_outside_in),
    };
    return cmocka_run_group_tests_name("common/map", tests, NULL, NULL);
}
