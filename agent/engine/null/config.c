/*
 * The null engine's arithmetic: conninfo words, the list of files, keys, and contents.
 *
 * Entries are numbered in key order: 0 is the directory d0000, then its files, then d0001 and so
 * on; the big file "zbig" is last. A number can therefore be turned into an entry without a list.
 */
#include "agent/engine/null/config.h"

#include "agent/engine/null/null.h"
#include "common/clock.h"
#include "common/parse.h"

uint64_t null_mix(uint64_t a, uint64_t b)
{
    uint64_t x = a * UINT64_C(0x9E3779B97F4A7C15) + b;
    x ^= x >> 30;
    x *= UINT64_C(0xBF58476D1CE4E5B9);
    x ^= x >> 27;
    x *= UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* ---- conninfo ---- */

static int set_text(const char *name, const char *value, char *dst, size_t size, struct tm_err *err)
{
    size_t len = strlen(value);
    if (len == 0 || len >= size)
        return tm_err_set(err, TM_E_INVALID, "conninfo: '%s' wants 1 to %zu characters", name,
                          size - 1);
    memcpy(dst, value, len + 1);
    return 0;
}

static int set_word(struct null_config *c, const char *name, const char *value, struct tm_err *err)
{
    const struct {
        const char *name;
        uint64_t *value;
        uint64_t max;
    } numbers[] = {
        {"seed", &c->seed, UINT64_MAX},
        {"files", &c->files, NULL_FILES_MAX},
        {"bytes", &c->bytes, UINT64_C(1) << 40},
        {"big", &c->big, UINT64_C(1) << 44},
        {"log", &c->log, UINT64_C(1) << 40},
        {"corrupt", &c->corrupt, 1000000},
        {"keys", &c->keys, 100000000},
        {"value", &c->value, 4096},
        {"revision", &c->revision, UINT64_C(1) << 60},
        {"now", &c->now_us, UINT64_C(1) << 60},
        {"rate", &c->rate, UINT64_C(1) << 40},
        {"since", &c->since, UINT64_C(1) << 60},
        {"cut", &c->cut, UINT64_C(1) << 60},
        {"twist", &c->twist, UINT64_C(1) << 60},
        {"fork", &c->fork, UINT64_C(1) << 60},
        {"ahead", &c->ahead, UINT64_C(1) << 50},
        {"lost", &c->lost, 1},
        {"hold", &c->hold, UINT64_C(1) << 60},
    };
    for (size_t i = 0; i < TM_ARRAY_LEN(numbers); i++) {
        if (strcmp(name, numbers[i].name) != 0)
            continue;
        if (parse_u64_in(value, 0, numbers[i].max, numbers[i].value, err) < 0)
            return tm_err_prefix(err, "conninfo: %s", name);
        return 0;
    }
    if (strcmp(name, "identity") == 0)
        return set_text(name, value, c->identity, sizeof(c->identity), err);
    if (strcmp(name, "fail") == 0)
        return set_text(name, value, c->fail, sizeof(c->fail), err);
    if (strcmp(name, "branch") == 0)
        return set_text(name, value, c->branch, sizeof(c->branch), err);
    if (strcmp(name, "parent") == 0)
        return set_text(name, value, c->parent, sizeof(c->parent), err);
    if (strcmp(name, "state") == 0)
        return set_text(name, value, c->state, sizeof(c->state), err);
    if (strcmp(name, "role") == 0) {
        if (strcmp(value, "primary") != 0 && strcmp(value, "standby") != 0)
            return tm_err_set(err, TM_E_INVALID, "conninfo: role is primary or standby, not '%s'",
                              value);
        c->standby = strcmp(value, "standby") == 0;
        return 0;
    }
    return tm_err_set(err, TM_E_INVALID, "conninfo: there is no word '%s'", name);
}

int null_config_parse(const char *engine, const char *conninfo, struct null_config *ret,
                      struct tm_err *err)
{
    struct null_config c = {.seed = 1,
                            .files = 16,
                            .bytes = 65536,
                            .log = 300000,
                            .keys = 1000,
                            .value = 100,
                            .revision = 1,
                            .branch = "1"};
    (void)snprintf(c.identity, sizeof(c.identity), "%s1", engine);
    char text[NULL_CONNINFO_MAX];
    size_t len = conninfo ? strlen(conninfo) : 0;
    if (len >= sizeof(text))
        return tm_err_set(err, TM_E_INVALID, "conninfo: longer than %zu bytes", sizeof(text) - 1);
    memcpy(text, conninfo ? conninfo : "", len);
    text[len] = '\0';
    char *rest = NULL;
    for (char *word = strtok_r(text, " \t\n", &rest); word; word = strtok_r(NULL, " \t\n", &rest)) {
        char *equals = strchr(word, '=');
        if (!equals)
            return tm_err_set(err, TM_E_INVALID, "conninfo: '%s' is not name=value", word);
        *equals = '\0';
        int r = set_word(&c, word, equals + 1, err);
        if (r < 0)
            return r;
    }
    *ret = c;
    return 0;
}

int null_config_fail(const struct null_config *c, const char *call, struct tm_err *err)
{
    if (strcmp(c->fail, call) != 0)
        return 0;
    return tm_err_retry(err, TM_E_UNAVAILABLE, "%s: asked to fail by conninfo", call);
}

int64_t null_config_now_us(const struct null_config *c)
{
    return (c->now_us > 0 ? (int64_t)c->now_us : clock_real_us()) + (int64_t)c->ahead;
}

/* ---- files ---- */

static uint64_t dir_count(const struct null_config *c)
{
    return (c->files + NULL_FILES_IN_DIR - 1) / NULL_FILES_IN_DIR;
}

uint64_t null_entry_count(const struct null_config *c)
{
    return c->files + dir_count(c) + (c->big > 0 ? 1 : 0);
}

void null_entry_at(const struct null_config *c, uint64_t index, struct null_entry *ret)
{
    *ret = (struct null_entry){.kind = FILE_REGULAR};
    if (index >= c->files + dir_count(c)) {
        ret->file = NULL_FILES_MAX;
        ret->size = c->big;
        (void)snprintf(ret->path, sizeof(ret->path), "zbig");
        return;
    }
    unsigned dir = (unsigned)(index / (NULL_FILES_IN_DIR + 1));
    uint64_t in_dir = index % (NULL_FILES_IN_DIR + 1);
    if (in_dir == 0) {
        ret->kind = FILE_DIRECTORY;
        (void)snprintf(ret->path, sizeof(ret->path), "d%05u", dir);
        return;
    }
    ret->file = (uint64_t)dir * NULL_FILES_IN_DIR + in_dir - 1;
    uint64_t spread = null_mix(c->seed, ret->file) % (c->bytes / 2 + 1);
    ret->size = c->bytes - c->bytes / 4 + spread;
    if (c->bytes == 0)
        ret->size = 0;
    (void)snprintf(ret->path, sizeof(ret->path), "d%05u/f%08llu", dir,
                   (unsigned long long)ret->file);
}

/* ---- keys ---- */

size_t null_key(const struct null_entry *entry, uint64_t offset, uint8_t key[ENGINE_KEY_MAX])
{
    size_t len = strlen(entry->path);
    memcpy(key, entry->path, len + 1);
    be64_put(key + len + 1, offset);
    return len + 1 + 8;
}

/* Lowest byte of the entry whose key is not below `bound`; UINT64_MAX when all are. */
static uint64_t first_not_below(const struct null_entry *entry, struct slice bound)
{
    uint8_t key[ENGINE_KEY_MAX];
    size_t len = null_key(entry, 0, key);
    if (slice_cmp(slice_of(key, len), bound) >= 0)
        return 0;
    if (bound.len == len && memcmp(key, bound.data, len - 8) == 0)
        return be64_get(bound.data + len - 8);
    return UINT64_MAX;
}

bool null_entry_part(const struct null_entry *entry, struct engine_key_range range,
                     uint64_t *ret_lo, uint64_t *ret_hi)
{
    uint64_t lo = first_not_below(entry, range.start);
    uint64_t hi = range.end.len == 0 ? UINT64_MAX : first_not_below(entry, range.end);
    if (lo >= hi || (lo > 0 && lo >= entry->size))
        return false;
    *ret_lo = lo;
    *ret_hi = TM_MIN(hi, entry->size);
    return true;
}

/* ---- contents ---- */

static uint64_t word_at(uint64_t block_hash, unsigned word)
{
    if (block_hash % 16 == 0)
        return 0;
    /* the last quarter of a block repeats, so that there is something to compress */
    return null_mix(block_hash, word < 768 ? word : word % 4);
}

void null_fill(uint64_t seed, uint64_t file, uint64_t offset, void *ret, size_t len)
{
    uint8_t *out = ret;
    uint64_t file_hash = null_mix(seed, file);
    while (len > 0) {
        uint64_t hash = null_mix(file_hash, offset / NULL_BLOCK_BYTES);
        unsigned in_block = (unsigned)(offset % NULL_BLOCK_BYTES);
        uint8_t bytes[8];
        be64_put(bytes, word_at(hash, in_block / 8));
        size_t skip = in_block % 8;
        size_t n = TM_MIN(len, 8 - skip);
        memcpy(out, bytes + skip, n);
        out += n;
        offset += n;
        len -= n;
    }
}
