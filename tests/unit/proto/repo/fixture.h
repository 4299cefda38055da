#ifndef TM_TESTS_UNIT_PROTO_REPO_FIXTURE_H
#define TM_TESTS_UNIT_PROTO_REPO_FIXTURE_H
/*
 * What the tests of repositories work on: an empty ram storage, scratches for as many objects as a
 * restore reads at once, and a place in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/storage/ram.h"
#include "proto/repo/catalog.h"

struct fixture {
    struct ram_registry *registry;
    struct storage *st;
    struct object_scratch *scratch[3];
    struct repo_scope scope;
    struct tm_err err;
};

static TM_UNUSED int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->registry = ram_registry_new();
    assert_int_equal(ram_open(f->registry, "t", &f->st, &f->err), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(object_scratch_new(&f->scratch[i], &f->err), 0);
    assert_int_equal(names_scope_set(&f->scope, "demo1", "main", "42", &f->err), 0);
    *state = f;
    return 0;
}

static TM_UNUSED int teardown(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++)
        object_scratch_free(f->scratch[i]);
    storage_free(f->st);
    ram_registry_free(f->registry);
    free(f);
    return 0;
}

#endif
