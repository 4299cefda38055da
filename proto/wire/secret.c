/* Between named secrets in memory and on the wire. No message holds a value. */
#include "proto/wire/secret.h"

void msg_secret_of(const char *name, const struct secret_map *map, struct msg_pair *pairs,
                   struct msg_secret *ret)
{
    *ret = (struct msg_secret){.pairs = pairs, .pairs_count = map->count};
    (void)snprintf(ret->name, sizeof(ret->name), "%s", name);
    for (size_t n = 0; n < map->count; n++) {
        (void)snprintf(pairs[n].name, sizeof(pairs[n].name), "%s", map->items[n].name);
        pairs[n].value = secret_slice(&map->items[n].value);
    }
}

int msg_secret_to(const struct msg_secret *secret, struct secret_map *ret, struct tm_err *err)
{
    TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
    for (size_t n = 0; n < secret->pairs_count; n++) {
        const struct msg_pair *pair = &secret->pairs[n];
        if (secret_map_get(&map, pair->name) != NULL)
            return tm_err_set(err, TM_E_INVALID, "secret '%s': key '%s' is given twice",
                              secret->name, pair->name);
        int r = secret_map_set(&map, pair->name, pair->value.data, pair->value.len, err);
        if (r < 0)
            return tm_err_prefix(err, "secret '%s'", secret->name);
    }
    *ret = map;
    map = SECRET_MAP_INIT;
    return 0;
}

bool msg_secret_equal(const struct msg_secret *a, const struct msg_secret *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    if (a->pairs_count != b->pairs_count)
        return false;
    for (size_t n = 0; n < a->pairs_count; n++)
        if (strcmp(a->pairs[n].name, b->pairs[n].name) != 0 ||
            !slice_eq(a->pairs[n].value, b->pairs[n].value))
            return false;
    return true;
}

size_t msg_secret_bytes(const struct msg_pair *pairs, size_t count)
{
    size_t bytes = 0;
    for (size_t n = 0; n < count; n++)
        bytes += strlen(pairs[n].name) + pairs[n].value.len;
    return bytes;
}
