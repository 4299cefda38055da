/* Arrays: the pointer is copied out and in, because pointers to different types are not each other's. */
#include "common/array.h"

#include <stdlib.h>
#include <string.h>

int array_room(void *array, size_t count, size_t *cap, size_t first, size_t item_bytes,
               struct tm_err *err)
{
    void *items;
    if (count < *cap)
        return 0;
    size_t more = *cap == 0 ? first : *cap * 2;
    memcpy(&items, array, sizeof(items));
    void *grown = reallocarray(items, more, item_bytes);
    if (grown == NULL)
        return tm_err_oom(err);
    memcpy(array, &grown, sizeof(grown));
    *cap = more;
    return 0;
}
