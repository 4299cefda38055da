#ifndef TM_COORDINATOR_BRAIN_REBUILD_INTERNAL_H
#define TM_COORDINATOR_BRAIN_REBUILD_INTERNAL_H
/* Between rebuild_read.c and rebuild_merge.c: one storage that is being read, and merged. */
#include "coordinator/brain/logs.h"

#define REBUILD_ITEMS_MAX 100000u
#define REBUILD_BYTES_MAX ((size_t)256 << 20)
#define REBUILD_NAMES_MAX BRAIN_RESOURCES_MAX

/* One item, and what has been found out of it. */
struct rebuild_item {
    struct msg_stored stored;
    struct codec_arena arena;
    char backup_id[WIRE_ID_MAX + 1]; /* of an intent: the backup that it is about */
    bool settled; /* a backup: a resource tells of it, or it stays without one on purpose */
};

struct rebuild_run {
    uint64_t cmd;
    struct resource *pattern;
    char storage[WIRE_URL_MAX + 1];
    char secret[WIRE_NAME_MAX + 1];
    char cluster[WIRE_NAME_MAX + 1]; /* "" = all that have agents */
    char after[WIRE_AFTER_MAX + 1];
    uint64_t term; /* the highest that the pages had */
    struct errand errand;
    uint32_t tried[16]; /* nodes that failed before the first page */
    size_t tried_count;
    struct tm_err err; /* of the last one that failed */
    char err_node[WIRE_NAME_MAX + 1];
    struct rebuild_item *items;
    size_t item_count;
    size_t item_cap;
    size_t bytes;
    bool read; /* all of it */
    size_t next; /* merging: 0 … item_count: intents; … 2 × item_count: backups; then it is over */
    struct rebuild_name {
        char namespace_[WIRE_NAME_MAX + 1];
        char name[WIRE_NAME_MAX + 1];
        char kind[32];
    } * names;
    size_t name_count;
    size_t name_cap;
    size_t refused; /* of these: the state could not be written */
    struct brain_rebuilt result;
    char first[4][128]; /* leftover, damaged, conflict, other */
};

/* Goes on as far as it can in one step; true: all is merged and durable. */
bool rebuild_merge(struct brain *b, struct rebuild_run *run);

#endif
