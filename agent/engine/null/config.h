#ifndef TM_AGENT_ENGINE_NULL_CONFIG_H
#define TM_AGENT_ENGINE_NULL_CONFIG_H
/*
 * What the null and mock engines are told by their conninfo, and the list of files that follows
 * from it. Pure: everything is computed, nothing is kept. Thread safe.
 */
#include "agent/engine/engine.h"

#define NULL_FILES_MAX    UINT64_C(10000000)
#define NULL_FILES_IN_DIR 256u
#define NULL_CONNINFO_MAX 512

struct null_config {
    uint64_t seed;
    char identity[ENGINE_IDENTITY_MAX];
    uint64_t files;
    uint64_t bytes;
    uint64_t big;
    uint64_t log;
    uint64_t corrupt;
    uint64_t now_us; /* 0 = the clock's */
    bool standby;
    char fail[32];
    uint64_t rate;  /* of the log, bytes a second since since_us */
    uint64_t since; /* µs since 1970 */
    uint64_t cut;   /* log before this byte is gone */
    uint64_t twist; /* log from this byte on is another; 0 = none */
    uint64_t fork;  /* where the branch left its parent */
    uint64_t ahead; /* µs, of the source's clock */
    uint64_t lost;  /* holds are */
    uint64_t hold;  /* bytes that one may keep; 0 = any */
    char branch[ENGINE_LABEL_MAX];
    char parent[ENGINE_LABEL_MAX]; /* "" = none */
    char state[256];               /* a file with more words; "" = none */
    uint64_t keys;                 /* mock */
    uint64_t value;
    uint64_t revision;
};

/* `conninfo` NULL = all defaults. Unknown words are TM_E_INVALID. */
int null_config_parse(const char *engine, const char *conninfo, struct null_config *ret,
                      struct tm_err *err) TM_WUR;
/* Fails when this call was asked to fail. */
int null_config_fail(const struct null_config *c, const char *call, struct tm_err *err) TM_WUR;

/* One entry of the data directory. Entries 0 … count-1 are in key order. */
struct null_entry {
    enum file_kind kind;
    uint64_t file; /* regular: number for null_fill */
    uint64_t size;
    char path[64];
};
uint64_t null_entry_count(const struct null_config *c);
void null_entry_at(const struct null_config *c, uint64_t index, struct null_entry *ret);

/* Key of an entry's byte: path, NUL, big-endian offset. Returns the length. */
size_t null_key(const struct null_entry *entry, uint64_t offset, uint8_t key[ENGINE_KEY_MAX]);
/* The part [lo, hi) of the entry that lies in the key range; false when nothing does. */
bool null_entry_part(const struct null_entry *entry, struct engine_key_range range,
                     uint64_t *ret_lo, uint64_t *ret_hi);

/* The source's time. */
int64_t null_config_now_us(const struct null_config *c);

/* A mixing function: the source of everything arbitrary here. */
uint64_t null_mix(uint64_t a, uint64_t b);

#endif
