/*
 * A hash table with open addressing and linear probing, at most half full: a probe ends at the first free slot. Removal
 * moves later ones of the same run back, so that no run is ever interrupted and no marks are left behind.
 */
#include "common/idmap.h"

#include <assert.h>
#include <stdlib.h>

#define CAP_FIRST 16

/* Numbers that count up, and those that differ only high up, are spread alike (Fibonacci hashing). */
static size_t home_of(uint64_t id, size_t cap)
{
    uint64_t mixed = (id ^ (id >> 32)) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(mixed >> 32) & (cap - 1);
}

/* Where it lies, or would. */
static size_t slot_of(const struct idmap *map, uint64_t id)
{
    size_t at = home_of(id, map->cap);
    while (map->slots[at].id != 0 && map->slots[at].id != id)
        at = (at + 1) & (map->cap - 1);
    return at;
}

static int grow(struct idmap *map, struct tm_err *err)
{
    struct idmap larger = {.cap = map->cap == 0 ? CAP_FIRST : 2 * map->cap, .count = map->count};
    larger.slots = calloc(larger.cap, sizeof(*larger.slots));
    if (larger.slots == NULL)
        return tm_err_oom(err);
    for (size_t at = 0; at < map->cap; at++) {
        if (map->slots[at].id != 0)
            larger.slots[slot_of(&larger, map->slots[at].id)] = map->slots[at];
    }
    free(map->slots);
    *map = larger;
    return 0;
}

int idmap_put(struct idmap *map, uint64_t id, void *thing, struct tm_err *err)
{
    assert(id != 0 && thing != NULL);
    if (2 * (map->count + 1) > map->cap) {
        int r = grow(map, err);
        if (r < 0)
            return r;
    }
    struct idmap_slot *slot = &map->slots[slot_of(map, id)];
    map->count += slot->id == 0;
    *slot = (struct idmap_slot){.id = id, .thing = thing};
    return 0;
}

void *idmap_get(const struct idmap *map, uint64_t id)
{
    if (map->count == 0 || id == 0)
        return NULL;
    return map->slots[slot_of(map, id)].thing;
}

void *idmap_remove(struct idmap *map, uint64_t id)
{
    if (map->count == 0 || id == 0)
        return NULL;
    size_t hole = slot_of(map, id);
    void *thing = map->slots[hole].thing;
    if (map->slots[hole].id == 0)
        return NULL;
    map->count--;
    for (size_t at = (hole + 1) & (map->cap - 1); map->slots[at].id != 0;
         at = (at + 1) & (map->cap - 1)) {
        size_t home = home_of(map->slots[at].id, map->cap);
        /* one whose home lies behind the hole stays: a probe for it does not come by there */
        if (((at - home) & (map->cap - 1)) < ((at - hole) & (map->cap - 1)))
            continue;
        map->slots[hole] = map->slots[at];
        hole = at;
    }
    map->slots[hole] = (struct idmap_slot){0};
    return thing;
}

void idmap_release(struct idmap *map)
{
    free(map->slots);
    *map = (struct idmap){0};
}
