/*
 * A small sorted array of named secrets. Failures: a bad name, too many, a file that others may
 * read or a line that is no pair.
 */
#include "common/secret_map.h"

#include <ctype.h>

void secret_map_release(struct secret_map *map)
{
    for (size_t n = 0; n < map->count; n++)
        secret_release(&map->items[n].value);
    map->count = 0;
}

static bool name_is_good(const char *name)
{
    size_t len = strnlen(name, SECRET_NAME_MAX + 1);
    if (len == 0 || len > SECRET_NAME_MAX)
        return false;
    for (size_t at = 0; at < len; at++)
        if (!isalnum((unsigned char)name[at]) && strchr("._-", name[at]) == NULL)
            return false;
    return true;
}

/* Where `name` is, or would be. */
static size_t place(const struct secret_map *map, const char *name, bool *ret_found)
{
    size_t at = 0;
    int order = 1;
    while (at < map->count && (order = strcmp(map->items[at].name, name)) < 0)
        at++;
    *ret_found = at < map->count && order == 0;
    return at;
}

int secret_map_set(struct secret_map *map, const char *name, const void *data, size_t len,
                   struct tm_err *err)
{
    if (!name_is_good(name))
        return tm_err_set(err, TM_E_INVALID,
                          "'%.64s' is no key of a secret: 1 to %d letters, digits, '.', '_' or '-'",
                          name, SECRET_NAME_MAX);
    struct secret value = SECRET_INIT;
    int r = secret_set(&value, data, len, err);
    if (r < 0)
        return tm_err_prefix(err, "secret key '%s'", name);
    bool found;
    size_t at = place(map, name, &found);
    if (!found) {
        if (map->count == SECRET_MAP_MAX) {
            secret_release(&value);
            return tm_err_set(err, TM_E_LIMIT, "a secret has at most %d keys", SECRET_MAP_MAX);
        }
        memmove(map->items + at + 1, map->items + at, (map->count - at) * sizeof(map->items[0]));
        map->count++;
        (void)snprintf(map->items[at].name, sizeof(map->items[at].name), "%s", name);
        map->items[at].value = SECRET_INIT;
    }
    secret_release(&map->items[at].value);
    map->items[at].value = value;
    return 0;
}

const struct secret *secret_map_get(const struct secret_map *map, const char *name)
{
    bool found;
    size_t at = place(map, name, &found);
    return found ? &map->items[at].value : NULL;
}

int secret_map_copy(const struct secret_map *from, struct secret_map *ret, struct tm_err *err)
{
    TM_CLEANUP(secret_map_release) struct secret_map copy = SECRET_MAP_INIT;
    for (size_t n = 0; n < from->count; n++) {
        const struct secret *value = &from->items[n].value;
        int r = secret_map_set(&copy, from->items[n].name, value->data, value->len, err);
        if (r < 0)
            return r;
    }
    *ret = copy;
    copy.count = 0; /* handed over */
    return 0;
}

/* ---- from a file ---- */

static int take_line(const char *path, unsigned number, char *line, struct secret_map *map,
                     struct tm_err *err)
{
    while (isspace((unsigned char)*line))
        line++;
    if (*line == '\0' || *line == '#')
        return 0;
    size_t name_len = strcspn(line, ":= \t");
    char *value = line + name_len + strspn(line + name_len, " \t");
    if (name_len == 0 || (*value != ':' && *value != '='))
        return tm_err_set(err, TM_E_INVALID, "%s:%u: not 'name: value' or 'name=value'", path,
                          number);
    value++;
    value += strspn(value, " \t");
    size_t value_len = strlen(value);
    while (value_len > 0 && isspace((unsigned char)value[value_len - 1]))
        value_len--;
    line[name_len] = '\0';
    if (secret_map_get(map, line) != NULL)
        return tm_err_set(err, TM_E_INVALID, "%s:%u: '%s' is given twice", path, number, line);
    int r = secret_map_set(map, line, value, value_len, err);
    return r < 0 ? tm_err_prefix(err, "%s:%u", path, number) : 0;
}

int secret_map_load(const char *path, struct secret_map *ret, struct tm_err *err)
{
    TM_CLEANUP(secret_release) struct secret file = SECRET_INIT;
    int r = secret_load(path, &file, err);
    if (r < 0)
        return r;
    if (memchr(file.data, 0, file.len) != NULL)
        return tm_err_set(err, TM_E_INVALID, "'%s' has a NUL byte", path);
    TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
    unsigned number = 0;
    char *at = (char *)file.data;
    while (r == 0 && at != NULL) {
        char *end = strchr(at, '\n');
        if (end != NULL)
            *end = '\0';
        r = take_line(path, ++number, at, &map, err);
        at = end != NULL ? end + 1 : NULL;
    }
    if (r < 0)
        return r;
    *ret = map;
    map.count = 0; /* handed over */
    return 0;
}
