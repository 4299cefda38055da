#ifndef TM_AGENT_ENGINE_POSTGRES_WAL_SECTIONS_H
#define TM_AGENT_ENGINE_POSTGRES_WAL_SECTIONS_H
/*
 * Two small sections of a chunk, one item for each record that matters: 257, what changes settings
 * that an incremental backup or a restore depends on; 258, tablespaces and databases made and
 * removed. proto/README.md has the encoding.
 *
 *     wal_items_init → wal_items_setting | wal_items_space … → wal_items_encode → wal_items_clear
 *     wal_items_reader_init → wal_items_next_setting* | wal_items_next_space*
 *
 * Items are in log order. Beyond WAL_ITEMS_MAX they are dropped and counted: the count in front then
 * is larger than what follows, never silently short.
 */
#include <stdbool.h>
#include <stdint.h>

#include "agent/engine/postgres/wal_reader.h"
#include "common/buf.h"
#include "common/err.h"

#define WAL_SECTION_BLOCKS   256
#define WAL_SECTION_SETTINGS 257
#define WAL_SECTION_SPACES   258

#define WAL_ITEMS_MAX 100000u

struct wal_items {
    struct buf bytes;
    uint64_t last; /* place of the last item */
    uint32_t count;
    uint64_t seen; /* the same, with those that found no room */
};
#define WAL_ITEMS_INIT ((struct wal_items){.count = 0})
void wal_items_clear(struct wal_items *items);
void wal_items_release(struct wal_items *items);
int wal_items_encode(const struct wal_items *items, struct buf *out, struct tm_err *err) TM_WUR;

enum wal_setting_kind {
    WAL_SETTING_FULL_PAGE_WRITES = 1, /* on | off */
    WAL_SETTING_PARAMETERS = 2,
    WAL_SETTING_CHECKPOINT = 3,
};
struct wal_setting {
    enum wal_setting_kind kind;
    uint64_t at; /* the record */
    bool full_page_writes;
    struct wal_parameters parameters;
    struct wal_checkpoint checkpoint; /* its timelines are not kept */
};
int wal_items_setting(struct wal_items *items, const struct wal_setting *setting,
                      struct tm_err *err) TM_WUR;

enum wal_space_kind {
    WAL_SPACE_TABLESPACE_CREATE = 1,
    WAL_SPACE_TABLESPACE_DROP = 2,
    WAL_SPACE_DATABASE_COPY = 3,   /* made by copying files */
    WAL_SPACE_DATABASE_CREATE = 4, /* made by log */
    WAL_SPACE_DATABASE_DROP = 5,   /* from one tablespace */
};
struct wal_space {
    enum wal_space_kind kind;
    uint64_t at;
    uint32_t tablespace;
    uint32_t database;
    uint32_t source_tablespace;
    uint32_t source_database;
    char path[WAL_TABLESPACE_PATH_MAX];
};
int wal_items_space(struct wal_items *items, const struct wal_space *space,
                    struct tm_err *err) TM_WUR;

struct wal_items_reader {
    struct slice rest;
    uint64_t last;
    uint64_t left;
    bool short_of; /* there were more than the section has */
};
/* Malformed sections are TM_E_CORRUPT. `section` must outlive the reader. */
int wal_items_reader_init(struct wal_items_reader *r, struct slice section,
                          struct tm_err *err) TM_WUR;
/* 1 = the next item, 0 = end. */
int wal_items_next_setting(struct wal_items_reader *r, struct wal_setting *ret,
                           struct tm_err *err) TM_WUR;
int wal_items_next_space(struct wal_items_reader *r, struct wal_space *ret,
                         struct tm_err *err) TM_WUR;

#endif
