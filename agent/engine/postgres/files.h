#ifndef TM_AGENT_ENGINE_POSTGRES_FILES_H
#define TM_AGENT_ENGINE_POSTGRES_FILES_H
/*
 * Which files a backup holds, and their keys; pure functions on names.
 *
 * Keys are big-endian and ordered by memcmp:
 *
 *     0x10 path 0x00 chunk:u32                       plain files, directories, tablespace links
 *     0x20 tablespace:u32 database:u32 relfilenode:u32 fork:u8 block:u32          relation files
 *     0x30 path 0x00 chunk:u32                       configuration outside the data directory
 *     0xF0                                           what is read after the end (one range)
 *
 * In a path '/' is written as 0x01, so that a directory is followed by all that is in it before its
 * next sibling: key order is the order of a sorted walk. (0x01 and 0x02 in names are escaped by
 * 0x02.) chunk counts FILES_CHUNK_BYTES of a plain file. block is the number within the relation,
 * through all its segment files. A key in the middle of a file belongs to its part from there on;
 * the key of the file's first byte carries its existence, even when it is empty.
 *
 * All directories come in class 0x10, before what class 0x20 puts into them. pg_wal, and the
 * directories whose contents are worthless after a restart, are restored empty. State files of prepared
 * transactions depend on the snapshot's start, see twophase.h.
 *
 * A file of several ranges is read in parts. A part that is not the last always has its full
 * length (a file that shrank meanwhile is filled with zeros: replay truncates it again), so parts
 * are adjacent; a file that vanishes between two reads may lack its last part.
 */
#include <stdbool.h>
#include <stdint.h>

#include "agent/engine/engine.h"
#include "common/buf.h"
#include "common/err.h"

#define FILES_CLASS_PLAIN    0x10
#define FILES_CLASS_RELATION 0x20
#define FILES_CLASS_CONFIG   0x30
#define FILES_CLASS_FINAL    0xF0
#define FILES_CHUNK_BYTES    (1u << 20)
#define FILES_RELATION_KEY   18

#define FILES_TABLESPACE_DEFAULT 1663u
#define FILES_TABLESPACE_GLOBAL  1664u

enum files_fork { FORK_MAIN = 0, FORK_FSM = 1, FORK_VM = 2, FORK_INIT = 3 };

/* One file of a relation, as named inside a database's directory. */
struct files_relation {
    uint32_t relfilenode;
    enum files_fork fork;
    uint32_t segment; /* 0 for "16384", 1 for "16384.1" */
};

/* True for names the server itself would give: "16384", "16384_vm.3"; not "016384" or "16384.0". */
bool files_relation_parse(const char *name, struct files_relation *ret);
#define FILES_NAME_MAX 32
/* Returns `name`, which has FILES_NAME_MAX bytes. */
char *files_relation_name(const struct files_relation *relation, char *name);
/* "t3_16384", with any fork and segment: a temporary relation. */
bool files_is_temporary_relation(const char *name);

/* A relation file packed into 8 bytes, in key order. */
#define FILES_SEGMENT_MAX ((1u << 29) - 1)
static inline uint64_t files_relation_pack(struct files_relation r)
{
    return (uint64_t)r.relfilenode << 32 | (uint64_t)r.fork << 29 | r.segment;
}
static inline struct files_relation files_relation_unpack(uint64_t packed)
{
    return (struct files_relation){(uint32_t)(packed >> 32), (enum files_fork)(packed >> 29 & 7),
                                   (uint32_t)packed & FILES_SEGMENT_MAX};
}

/* Where an entry of the data directory stands. */
enum files_place {
    FILES_PLACE_PLAIN,       /* any directory not named below */
    FILES_PLACE_ROOT,        /* the data directory itself */
    FILES_PLACE_GLOBAL,      /* global */
    FILES_PLACE_DATABASE,    /* base/N, pg_tblspc/N/PG_x_y/N */
    FILES_PLACE_TABLESPACES, /* pg_tblspc */
    FILES_PLACE_TABLESPACE,  /* pg_tblspc/N: only the version's own directory */
    FILES_PLACE_WAL,         /* pg_wal: made anew */
};

enum files_what {
    FILES_SKIP,
    FILES_PLAIN,     /* copy: a file by its path, or go into the directory */
    FILES_EMPTY_DIR, /* make the directory (it may be a link at the source), skip what is in it */
    FILES_RELATION,  /* copy by relation key */
    FILES_LINK,      /* pg_tblspc/N: a link or a directory */
};

/* The place of a directory by its path relative to the data directory ("" is the root);
 * version_dir is "PG_15_202209061". */
enum files_place files_place_of(const char *dir, const char *version_dir);

/* What to do with the entry `name` of a directory of that kind. is_dir: a directory, or a link to
 * one. Unlogged relations are judged elsewhere: by their _init fork, which needs the whole list. */
enum files_what files_classify(enum files_place place, const char *name, bool is_dir,
                               const char *version_dir);

/* ---- paths ---- */

/* "base/5", "global", "pg_tblspc/16400/PG_15_202209061/5" into `path`, which has
 * FILES_DATABASE_DIR_MAX bytes. */
#define FILES_DATABASE_DIR_MAX 96
char *files_database_dir(uint32_t tablespace, uint32_t database, const char *version_dir,
                         char *path);

/* ---- keys ---- */

/* Both return the length; `key` has ENGINE_KEY_MAX bytes. A path that does not fit is TM_E_LIMIT.
 */
int files_key_path(uint8_t class_byte, const char *path, uint32_t chunk, uint8_t *key,
                   size_t *ret_len, struct tm_err *err) TM_WUR;
size_t files_key_relation(uint32_t tablespace, uint32_t database, uint32_t relfilenode,
                          enum files_fork fork, uint32_t block, uint8_t *key);

/* A decoded key. A range's start may be any byte string, so a key cut short is completed with
 * zeros: it then is the lowest full key at or above it. */
struct files_key {
    uint8_t class_byte; /* 0 = below everything */
    char path[ENGINE_PATH_MAX];
    uint32_t chunk;
    uint32_t tablespace;
    uint32_t database;
    uint32_t relfilenode;
    enum files_fork fork;
    uint32_t block;
};
/* TM_E_INVALID for what this engine cannot have made. */
int files_key_decode(struct slice key, struct files_key *ret, struct tm_err *err) TM_WUR;

#endif
