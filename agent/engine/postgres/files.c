/*
 * Names, exclusions and keys. Happy path: a name is classified by the directory it stands in and
 * packed into a key; a key is unpacked into the same name again. Only keys can fail: a path that
 * does not fit, or key bytes that this engine cannot have made.
 */
#include "agent/engine/postgres/files.h"

#include <stdio.h>

#define ESCAPE_SLASH 0x01
#define ESCAPE       0x02

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_one_of(const char *name, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(name, *list) == 0)
            return true;
    return false;
}

/* A decimal number as the server prints it: no sign, no leading zero, at most `max`. NULL if none.
 */
static const char *parse_decimal(const char *text, uint64_t max, uint64_t *ret)
{
    uint64_t value = 0;
    const char *at = text;
    if (*at == '0' && at[1] >= '0' && at[1] <= '9')
        return NULL;
    for (; *at >= '0' && *at <= '9'; at++) {
        value = value * 10 + (uint64_t)(*at - '0');
        if (value > max)
            return NULL;
    }
    if (at == text)
        return NULL;
    *ret = value;
    return at;
}

/* The rest of a relation's name behind its number: fork and segment. */
static bool parse_fork_segment(const char *text, enum files_fork *ret_fork, uint32_t *ret_segment)
{
    static const char *const suffix[] = {
        [FORK_MAIN] = "", [FORK_FSM] = "_fsm", [FORK_VM] = "_vm", [FORK_INIT] = "_init"};
    enum files_fork fork = FORK_MAIN;
    for (unsigned n = FORK_FSM; n <= FORK_INIT; n++)
        if (starts_with(text, suffix[n]))
            fork = (enum files_fork)n;
    text += strlen(suffix[fork]);
    uint64_t segment = 0;
    if (*text == '.') {
        text = parse_decimal(text + 1, FILES_SEGMENT_MAX, &segment);
        if (!text || segment == 0)
            return false;
    }
    if (*text != '\0')
        return false;
    *ret_fork = fork;
    *ret_segment = (uint32_t)segment;
    return true;
}

bool files_relation_parse(const char *name, struct files_relation *ret)
{
    uint64_t number;
    struct files_relation relation;
    const char *rest = parse_decimal(name, UINT32_MAX, &number);
    if (!rest || number == 0 || !parse_fork_segment(rest, &relation.fork, &relation.segment))
        return false;
    relation.relfilenode = (uint32_t)number;
    *ret = relation;
    return true;
}

char *files_relation_name(const struct files_relation *relation, char *name)
{
    static const char *const suffix[] = {
        [FORK_MAIN] = "", [FORK_FSM] = "_fsm", [FORK_VM] = "_vm", [FORK_INIT] = "_init"};
    const char *fork = relation->fork <= FORK_INIT ? suffix[relation->fork] : "_none";
    if (relation->segment == 0)
        snprintf(name, FILES_NAME_MAX, "%u%s", relation->relfilenode, fork);
    else
        snprintf(name, FILES_NAME_MAX, "%u%s.%u", relation->relfilenode, fork, relation->segment);
    return name;
}

bool files_is_temporary_relation(const char *name)
{
    uint64_t number;
    enum files_fork fork;
    uint32_t segment;
    if (*name != 't')
        return false;
    const char *rest = parse_decimal(name + 1, UINT32_MAX, &number);
    if (!rest || *rest != '_')
        return false;
    rest = parse_decimal(rest + 1, UINT32_MAX, &number);
    return rest && parse_fork_segment(rest, &fork, &segment);
}

/* ---- what to copy ---- */

static bool is_number(const char *name, size_t len)
{
    if (len == 0 || len > 10)
        return false;
    for (size_t n = 0; n < len; n++)
        if (name[n] < '0' || name[n] > '9')
            return false;
    return true;
}

enum files_place files_place_of(const char *dir, const char *version_dir)
{
    if (dir[0] == '\0')
        return FILES_PLACE_ROOT;
    if (strcmp(dir, "global") == 0)
        return FILES_PLACE_GLOBAL;
    if (strcmp(dir, "pg_wal") == 0)
        return FILES_PLACE_WAL;
    if (strcmp(dir, "pg_tblspc") == 0)
        return FILES_PLACE_TABLESPACES;
    if (starts_with(dir, "base/"))
        return is_number(dir + 5, strlen(dir + 5)) ? FILES_PLACE_DATABASE : FILES_PLACE_PLAIN;
    if (!starts_with(dir, "pg_tblspc/"))
        return FILES_PLACE_PLAIN;

    const char *oid = dir + strlen("pg_tblspc/");
    size_t len = strcspn(oid, "/");
    if (!is_number(oid, len))
        return FILES_PLACE_PLAIN;
    if (oid[len] == '\0')
        return FILES_PLACE_TABLESPACE;
    const char *below = oid + len + 1;
    size_t version_len = strlen(version_dir);
    if (strncmp(below, version_dir, version_len) != 0 || below[version_len] != '/')
        return FILES_PLACE_PLAIN;
    const char *database = below + version_len + 1;
    return is_number(database, strlen(database)) ? FILES_PLACE_DATABASE : FILES_PLACE_PLAIN;
}

/* Never copied, wherever they stand. */
static bool is_excluded_anywhere(const char *name)
{
    static const char *const names[] = {"postgresql.auto.conf.tmp",
                                        "current_logfiles.tmp",
                                        "backup_label",
                                        "tablespace_map",
                                        "backup_manifest",
                                        "postmaster.pid",
                                        "postmaster.opts",
                                        ".DS_Store",
                                        NULL};
    /* pg_internal.init.<pid> is one that is just being written */
    return starts_with(name, "pg_internal.init") || starts_with(name, "pgsql_tmp") ||
           is_one_of(name, names);
}

/* Left over by recovery or by other tools: they would steer, or confuse, a restored server. */
static bool is_excluded_at_root(const char *name)
{
    static const char *const names[] = {
        "recovery.signal",  "standby.signal",     "recovery.conf",       "recovery.done",
        "backup_label.old", "tablespace_map.old", "backup_manifest.tmp", NULL};
    return is_one_of(name, names);
}

static bool is_emptied_at_root(const char *name)
{
    static const char *const names[] = {"pg_stat_tmp", "pg_replslot",  "pg_dynshmem", "pg_notify",
                                        "pg_serial",   "pg_snapshots", "pg_subtrans", NULL};
    return is_one_of(name, names);
}

static enum files_what classify_in_database(const char *name, bool is_dir)
{
    struct files_relation relation;
    if (!is_dir && files_is_temporary_relation(name))
        return FILES_SKIP;
    return !is_dir && files_relation_parse(name, &relation) ? FILES_RELATION : FILES_PLAIN;
}

enum files_what files_classify(enum files_place place, const char *name, bool is_dir,
                               const char *version_dir)
{
    if (is_excluded_anywhere(name))
        return FILES_SKIP;
    switch (place) {
    case FILES_PLACE_ROOT:
        if (is_excluded_at_root(name))
            return FILES_SKIP;
        return is_emptied_at_root(name) ? FILES_EMPTY_DIR : FILES_PLAIN;
    case FILES_PLACE_GLOBAL:
        if (strcmp(name, "pg_control") == 0)
            return FILES_SKIP; /* read after the end */
        return classify_in_database(name, is_dir);
    case FILES_PLACE_DATABASE:
        return classify_in_database(name, is_dir);
    case FILES_PLACE_TABLESPACES:
        return is_number(name, strlen(name)) ? FILES_LINK : FILES_SKIP;
    case FILES_PLACE_TABLESPACE:
        return strcmp(name, version_dir) == 0 ? FILES_PLAIN : FILES_SKIP;
    case FILES_PLACE_WAL:
        if (is_dir && (strcmp(name, "archive_status") == 0 || strcmp(name, "summaries") == 0))
            return FILES_EMPTY_DIR;
        return FILES_SKIP;
    case FILES_PLACE_PLAIN:
        break;
    }
    return FILES_PLAIN;
}

char *files_database_dir(uint32_t tablespace, uint32_t database, const char *version_dir,
                         char *path)
{
    if (tablespace == FILES_TABLESPACE_GLOBAL)
        snprintf(path, FILES_DATABASE_DIR_MAX, "global");
    else if (tablespace == FILES_TABLESPACE_DEFAULT)
        snprintf(path, FILES_DATABASE_DIR_MAX, "base/%u", database);
    else
        snprintf(path, FILES_DATABASE_DIR_MAX, "pg_tblspc/%u/%s/%u", tablespace, version_dir,
                 database);
    return path;
}

/* ---- keys ---- */

int files_key_path(uint8_t class_byte, const char *path, uint32_t chunk, uint8_t *key,
                   size_t *ret_len, struct tm_err *err)
{
    size_t len = 0;
    key[len++] = class_byte;
    for (const char *at = path; *at; at++) {
        if (len + 2 + 5 > ENGINE_KEY_MAX || at - path >= ENGINE_PATH_MAX - 1)
            return tm_err_set(err, TM_E_LIMIT, "the path '%.200s…' is too long", path);
        uint8_t c = (uint8_t)*at;
        if (c == ESCAPE_SLASH || c == ESCAPE)
            key[len++] = ESCAPE;
        key[len++] = c == '/' ? ESCAPE_SLASH : c;
    }
    key[len++] = 0;
    be32_put(key + len, chunk);
    *ret_len = len + 4;
    return 0;
}

size_t files_key_relation(uint32_t tablespace, uint32_t database, uint32_t relfilenode,
                          enum files_fork fork, uint32_t block, uint8_t *key)
{
    key[0] = FILES_CLASS_RELATION;
    be32_put(key + 1, tablespace);
    be32_put(key + 5, database);
    be32_put(key + 9, relfilenode);
    key[13] = (uint8_t)fork;
    be32_put(key + 14, block);
    return FILES_RELATION_KEY;
}

static int decode_path(struct slice key, struct files_key *ret, struct tm_err *err)
{
    size_t len = 0, at = 1;
    for (; at < key.len && key.data[at] != 0; at++) {
        uint8_t c = key.data[at];
        if (c == ESCAPE && at + 1 < key.len)
            c = key.data[++at];
        else if (c == ESCAPE_SLASH)
            c = '/';
        if (len + 1 >= sizeof(ret->path))
            return tm_err_set(err, TM_E_INVALID, "a range key holds a path that is too long");
        ret->path[len++] = (char)c;
    }
    ret->path[len] = '\0';
    uint8_t chunk[4] = {0};
    if (at < key.len) {
        size_t left = key.len - at - 1;
        if (left > sizeof(chunk))
            return tm_err_set(err, TM_E_INVALID, "a range key is too long");
        memcpy(chunk, key.data + at + 1, left);
    }
    ret->chunk = be32_get(chunk);
    return 0;
}

static int decode_relation(struct slice key, struct files_key *ret, struct tm_err *err)
{
    uint8_t full[FILES_RELATION_KEY] = {0};
    if (key.len > sizeof(full))
        return tm_err_set(err, TM_E_INVALID, "a range key is too long");
    memcpy(full, key.data, key.len);
    if (full[13] > FORK_INIT)
        return tm_err_set(err, TM_E_INVALID, "a range key names fork %u of a relation", full[13]);
    ret->tablespace = be32_get(full + 1);
    ret->database = be32_get(full + 5);
    ret->relfilenode = be32_get(full + 9);
    ret->fork = (enum files_fork)full[13];
    ret->block = be32_get(full + 14);
    return 0;
}

int files_key_decode(struct slice key, struct files_key *ret, struct tm_err *err)
{
    struct files_key decoded = {0};
    int r = 0;
    if (key.len > ENGINE_KEY_MAX)
        return tm_err_set(err, TM_E_INVALID, "a range key is too long");
    if (key.len > 0)
        decoded.class_byte = key.data[0];
    switch (decoded.class_byte) {
    case FILES_CLASS_PLAIN:
    case FILES_CLASS_CONFIG:
        r = decode_path(key, &decoded, err);
        break;
    case FILES_CLASS_RELATION:
        r = decode_relation(key, &decoded, err);
        break;
    default:
        break; /* between classes: only its first byte matters */
    }
    if (r < 0)
        return r;
    *ret = decoded;
    return 0;
}
