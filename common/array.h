#ifndef TM_COMMON_ARRAY_H
#define TM_COMMON_ARRAY_H
/*
 * Arrays that grow by one item at a time.
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

/* `array` is the address of a pointer to items. */
int array_room(void *array, size_t count, size_t *cap, size_t first, size_t item_bytes,
               struct tm_err *err) TM_WUR;

#endif
