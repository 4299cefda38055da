#ifndef TM_TESTS_LIB_STORAGE_CONTRACT_H
#define TM_TESTS_LIB_STORAGE_CONTRACT_H
/*
 * Every promise of common/storage/storage.h as a test, over whatever store a URL names.
 *
 *     struct storage_contract contract = {.url = "ram://contract"};
 *     failed = storage_contract_run("ram", &contract);      prints each test, counts the failed ones
 *
 * Each test has a store of its own: the URL with a number behind its path. What it leaves is removed.
 * storage_contract.c has the promises themselves, storage_contract_load.c those that show with size,
 * number and threads only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/storage/storage.h"

struct storage_contract {
    const char *url;
    const struct secret_map *secret;
    bool no_conditional_create; /* the store has none: of two that race both may win */
    bool no_leftovers;          /* unfinished uploads end with their process, or cannot be seen */
    const char *only;           /* NULL, or part of the names of the tests to run */
};

int storage_contract_run(const char *title, struct storage_contract *contract);

/* What a test has. `directories`: a name cannot be both an object and the beginning of another. */
struct store_fixture {
    const struct storage_contract *contract;
    char url[STORAGE_URL_MAX];
    char dir[64]; /* of a test over files, to be removed; else empty */
    struct storage *st;
    bool directories;
    struct tm_err err;
};

#define LOAD_TESTS_MAX 16
/* The tests of storage_contract_load.c; returns how many. */
size_t storage_contract_load_tests(struct CMUnitTest *tests);

void store_put(struct store_fixture *f, const char *name, const char *text);
void store_assert_holds(struct store_fixture *f, const char *name, const char *text);
/* All names below prefix behind start_after, joined by spaces; valid until the next call. */
const char *store_listed(struct store_fixture *f, const char *prefix, const char *start_after);

/* Fails the test with the error's text when `call` (with &f->err) is not 0. */
#define assert_done(f, call)                                                                       \
    do {                                                                                           \
        if ((call) != 0)                                                                           \
            fail_msg("%s: %s", #call, (f)->err.msg);                                               \
    } while (0)
/* … and when it is not this error, which stands in f->err. */
#define assert_refused(f, code_, call)                                                             \
    do {                                                                                           \
        int result_ = (call);                                                                      \
        if (result_ != -(code_))                                                                   \
            fail_msg("%s: %d instead of %d: %s", #call, result_, -(code_),                         \
                     result_ < 0 ? (f)->err.msg : "done");                                         \
    } while (0)

#endif
