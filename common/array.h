#ifndef TM_COMMON_ARRAY_H
#define TM_COMMON_ARRAY_H
/*
 * Arrays that grow by one item at a time, and places in sorted ones.
 *
 *     struct thing *items = NULL; size_t count = 0, cap = 0;
 *     if (ARRAY_ROOM(items, count, cap, 16, err) < 0) return …;
 *     items[count++] = thing;
 *
 * The array is malloc'ed, and the caller's to free. A limit beside it is the caller's, too. Not thread
 * safe.
 */
#include <stddef.h>

#include "common/err.h"

/* Room for one more item behind `count`: an array that is full gets twice as much, the first time
 * `first`. When memory is out the array is as it was. */
#define ARRAY_ROOM(items, count, cap, first, err)                                                  \
    array_room(&(items), (count), &(cap), (first), sizeof(*(items)), (err))

/* The first place of a sorted array of `count` items whose item is not below what is looked for; `count`: all are.
 * `is_below` is an expression that says so of the item at place `at`, a name that is declared here:
 *
 *     size_t low;
 *     ARRAY_LOWER_BOUND(low, count, at, strcmp(items[at].name, name) < 0);
 */
#define ARRAY_LOWER_BOUND(low, count, at, is_below)                                                \
    do {                                                                                           \
        size_t high_ = (count);                                                                    \
        (low) = 0;                                                                                 \
        while ((low) < high_) {                                                                    \
            size_t at = (low) + (high_ - (low)) / 2;                                               \
            if (is_below)                                                                          \
                (low) = at + 1;                                                                    \
            else                                                                                   \
                high_ = at;                                                                        \
        }                                                                                          \
    } while (0)

/* `array` is the address of a pointer to items. */
int array_room(void *array, size_t count, size_t *cap, size_t first, size_t item_bytes,
               struct tm_err *err) TM_WUR;

#endif
