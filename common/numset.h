#ifndef TM_COMMON_NUMSET_H
#define TM_COMMON_NUMSET_H
/*
 * A set of numbers 0 … n-1, of which the lowest is wanted again and again: a bit each, and a bit
 * for each 64 of those that is set when any of them is. Finding the lowest of a million reads 2 KiB
 * at most.
 *
 *     struct numset set = {0};
 *     numset_reserve(&set, n, err)         before any number below n is added
 *     numset_add · numset_drop · numset_lowest
 *     numset_release(&set)
 *
 * The limit is the caller's. Not thread safe.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct numset {
    uint64_t *bits;
    uint64_t *any; /* of bits[i] */
    size_t cap;    /* numbers below this fit */
};

/* Grows by doubling: may be called before each addition. On failure the set is as it was. */
int numset_reserve(struct numset *set, size_t n, struct tm_err *err) TM_WUR;
/* number < what was reserved; adding and dropping once more changes nothing. */
void numset_add(struct numset *set, size_t number);
void numset_drop(struct numset *set, size_t number);
bool numset_has(const struct numset *set, size_t number);
/* SIZE_MAX: it is empty. */
size_t numset_lowest(const struct numset *set);
void numset_release(struct numset *set);

#endif
