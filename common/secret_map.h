#ifndef TM_COMMON_SECRET_MAP_H
#define TM_COMMON_SECRET_MAP_H
/*
 * Named secrets: what an operator stores under one name (`tidemark create secret`), such as
 * access_key and secret_key. In the order of names; values are wiped when replaced or released and
 * never formatted into messages.
 *
 * Names are 1 to SECRET_NAME_MAX of [A-Za-z0-9._-]. Not thread safe.
 */
#include "common/secret.h"

#define SECRET_MAP_MAX  16
#define SECRET_NAME_MAX 63

struct secret_map {
    size_t count;
    struct {
        char name[SECRET_NAME_MAX + 1];
        struct secret value;
    } items[SECRET_MAP_MAX];
};
#define SECRET_MAP_INIT ((struct secret_map){.count = 0})

void secret_map_release(struct secret_map *map);
/* Copies; a name that is there already gets the new value. */
int secret_map_set(struct secret_map *map, const char *name, const void *data, size_t len,
                   struct tm_err *err) TM_WUR;
/* NULL when there is none. */
const struct secret *secret_map_get(const struct secret_map *map, const char *name);
/* *ret is as after secret_map_release before, and owns its copies. */
int secret_map_copy(const struct secret_map *from, struct secret_map *ret,
                    struct tm_err *err) TM_WUR;

/*
 * Reads a file of `name: value` or `name=value` lines, '#' begins a comment line; the file must be
 * readable by its owner alone (as secret_load). Errors name file and line, never a value.
 */
int secret_map_load(const char *path, struct secret_map *ret, struct tm_err *err) TM_WUR;

#endif
