/* Sorted map: a sorted array of (key, value). */
#include "common/map.h"

#include <stdlib.h>
#include <string.h>

void map_release(struct map *m)
{
    for (size_t n = 0; n < m->count; n++)
        free(m->entries[n].key);
    free(m->entries);
    *m = MAP_INIT;
}

void map_release_with(struct map *m, void (*free_value)(void *value))
{
    for (size_t n = 0; n < m->count; n++)
        free_value(m->entries[n].value);
    map_release(m);
}

size_t map_seek(const struct map *m, const char *key, int after)
{
    size_t low = 0;
    size_t high = m->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(m->entries[middle].key, key);
        if (order < 0 || (after && order == 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct map *m, size_t index, const char *key)
{
    return index < m->count && strcmp(m->entries[index].key, key) == 0;
}

void *map_get(const struct map *m, const char *key)
{
    size_t index = map_seek(m, key, 0);
    return is_at(m, index, key) ? m->entries[index].value : NULL;
}

int map_put(struct map *m, const char *key, void *value, void **ret_old, struct tm_err *err)
{
    size_t index = map_seek(m, key, 0);
    if (is_at(m, index, key)) {
        if (ret_old != NULL)
            *ret_old = m->entries[index].value;
        m->entries[index].value = value;
        return 0;
    }
    if (m->count >= MAP_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d entries", MAP_MAX);
    if (m->count == m->cap) {
        size_t cap = m->cap == 0 ? 8 : m->cap * 2;
        struct map_entry *entries = realloc(m->entries, cap * sizeof(*entries));
        if (entries == NULL)
            return tm_err_oom(err);
        m->entries = entries;
        m->cap = cap;
    }
    char *copy = strdup(key);
    if (copy == NULL)
        return tm_err_oom(err);
    memmove(&m->entries[index + 1], &m->entries[index], (m->count - index) * sizeof(*m->entries));
    m->entries[index] = (struct map_entry){.key = copy, .value = value};
    m->count++;
    if (ret_old != NULL)
        *ret_old = NULL;
    return 0;
}

void *map_remove(struct map *m, const char *key)
{
    size_t index = map_seek(m, key, 0);
    if (!is_at(m, index, key))
        return NULL;
    void *value = m->entries[index].value;
    free(m->entries[index].key);
    m->count--;
    memmove(&m->entries[index], &m->entries[index + 1], (m->count - index) * sizeof(*m->entries));
    return value;
}
