#ifndef TM_COMMON_MAP_H
#define TM_COMMON_MAP_H
/*
 * Sorted map from text to pointer.
 *
 * Keys are copied; values are the caller's (a map never frees them). Iteration is in order of key
 * bytes, so what pure code does never depends on addresses or insertion. A sorted array underneath:
 * lookup O(log n), insert and remove O(n) moves of 16 bytes; meant for up to MAP_MAX entries.
 * Not thread safe.
 */
#include <stddef.h>

#include "common/cleanup.h"
#include "common/err.h"

#define MAP_MAX 100000

struct map_entry {
    char *key;
    void *value;
};

struct map {
    struct map_entry *entries; /* sorted by key; read only: for (size_t i = 0; i < m->count; i++) */
    size_t count;
    size_t cap;
};
#define MAP_INIT ((struct map){NULL, 0, 0})

/* Frees keys and array. Values must have been dealt with before. */
void map_release(struct map *m);
/* As map_release, after `free_value` for every value. */
void map_release_with(struct map *m, void (*free_value)(void *value));

/* NULL when absent. */
void *map_get(const struct map *m, const char *key);
/* Inserts or replaces; *ret_old (may be a NULL pointer) receives the replaced value or NULL. */
int map_put(struct map *m, const char *key, void *value, void **ret_old, struct tm_err *err) TM_WUR;
/* Returns the removed value, or NULL. */
void *map_remove(struct map *m, const char *key);

/* Index of the first entry whose key is >= `key` (> when `after`); count when none. */
size_t map_seek(const struct map *m, const char *key, int after);

#endif
