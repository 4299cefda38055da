/* Bits in two levels, see numset.h. */
#include "common/numset.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define WORD      64u
#define CAP_FIRST (WORD * WORD) /* one word of the upper level */

static int widen(uint64_t **words, size_t count, size_t larger, struct tm_err *err)
{
    uint64_t *grown = realloc(*words, larger * sizeof(*grown));
    if (grown == NULL)
        return tm_err_oom(err);
    memset(grown + count, 0, (larger - count) * sizeof(*grown));
    *words = grown;
    return 0;
}

int numset_reserve(struct numset *set, size_t n, struct tm_err *err)
{
    size_t cap = set->cap > 0 ? set->cap : CAP_FIRST;
    while (cap < n)
        cap *= 2;
    if (cap == set->cap)
        return 0;
    int r = widen(&set->bits, set->cap / WORD, cap / WORD, err);
    if (r == 0)
        r = widen(&set->any, set->cap / CAP_FIRST, cap / CAP_FIRST, err);
    if (r == 0)
        set->cap = cap;
    return r;
}

void numset_add(struct numset *set, size_t number)
{
    assert(number < set->cap);
    set->bits[number / WORD] |= UINT64_C(1) << number % WORD;
    set->any[number / CAP_FIRST] |= UINT64_C(1) << number / WORD % WORD;
}

void numset_drop(struct numset *set, size_t number)
{
    assert(number < set->cap);
    set->bits[number / WORD] &= ~(UINT64_C(1) << number % WORD);
    if (set->bits[number / WORD] == 0)
        set->any[number / CAP_FIRST] &= ~(UINT64_C(1) << number / WORD % WORD);
}

bool numset_has(const struct numset *set, size_t number)
{
    return number < set->cap && (set->bits[number / WORD] >> number % WORD & 1) != 0;
}

size_t numset_lowest(const struct numset *set)
{
    for (size_t at = 0; at < set->cap / CAP_FIRST; at++) {
        if (set->any[at] == 0)
            continue;
        size_t word = at * WORD + (size_t)__builtin_ctzll(set->any[at]);
        return word * WORD + (size_t)__builtin_ctzll(set->bits[word]);
    }
    return SIZE_MAX;
}

void numset_release(struct numset *set)
{
    free(set->bits);
    free(set->any);
    *set = (struct numset){0};
}
