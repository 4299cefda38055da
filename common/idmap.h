#ifndef TM_COMMON_IDMAP_H
#define TM_COMMON_IDMAP_H
/*
 * What belongs to a number: connections by their id, nodes by their connection. Found in the same time, however many
 * there are.
 *
 *     struct idmap map = {0};
 *     idmap_put(&map, id, thing, err)      id is not 0; what was there before is replaced
 *     idmap_get(&map, id)                  NULL = nothing
 *     idmap_remove(&map, id)               returns what was there
 *     idmap_release(&map)                  the things are their owners'
 *
 * Nothing depends on the order in which things lie here: there is no way to walk it. The limit is
 * that of whoever owns the things. Not thread safe.
 */
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct idmap {
    struct idmap_slot {
        uint64_t id; /* 0 = free */
        void *thing;
    } * slots;
    size_t cap; /* a power of two, or 0 */
    size_t count;
};

/* On failure the map is as it was. */
int idmap_put(struct idmap *map, uint64_t id, void *thing, struct tm_err *err) TM_WUR;
void *idmap_get(const struct idmap *map, uint64_t id);
void *idmap_remove(struct idmap *map, uint64_t id);
void idmap_release(struct idmap *map);

#endif
