#ifndef TM_TESTS_UNIT_AGENT_BACKUP_TASK_LOG_H
#define TM_TESTS_UNIT_AGENT_BACKUP_TASK_LOG_H
/*
 * Log as a log task of the null database demo1/main/null1 would have stored it, for tests of what
 * others make of it. Lineages are named by one letter.
 */
#include <string.h>

#include "agent/engine/null/log.h"
#include "agent/engine/null/null.h"
#include "common/cleanup.h"
#include "common/storage/storage.h"
#include "proto/format/chunk.h"

int null_log_fill(const char *conninfo, uint64_t at, void *ret, size_t len, struct tm_err *err);

static const uint8_t task_nonce[OBJECT_NONCE_BYTES] = {1, 2, 3};

static TM_UNUSED int task_scope(struct repo_scope *ret, struct tm_err *err)
{
    return names_scope_set(ret, "demo1", "main", "null1", err);
}

static TM_UNUSED int task_lineage(struct storage *st, char letter, uint64_t from,
                                  int64_t created_us, struct tm_err *err)
{
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    struct lineage lineage = {
        .label = "1", .from = from, .segment_bytes = NULL_LOG_SEGMENT, .created_us = created_us};
    struct repo_scope scope;
    struct object_info info;
    memset(lineage.id, letter, sizeof(lineage.id));
    int r = task_scope(&scope, err);
    if (r == 0)
        r = object_scratch_new(&scratch, err);
    if (r < 0)
        return r;
    struct rel_name rel = names_rel_lineage(lineage.id);
    return record_put(scratch, st, names_full(&scope, rel.s).s, OBJECT_LINEAGE, task_nonce,
                      &lineage_codec, &lineage, &info, err);
}

/* The name of the chunk that task_chunk stores, below the scope. */
static TM_UNUSED struct rel_name task_chunk_name(char letter, uint64_t from)
{
    uint8_t id[NAMES_LINEAGE_BYTES];
    memset(id, letter, sizeof(id));
    return names_rel_chunk(id, from, (struct epoch){1, 1});
}

/* Bytes [from, to) of the database of these words. */
static TM_UNUSED int task_chunk(struct storage *st, const char *conninfo, char letter,
                                uint64_t from, uint64_t to, struct tm_err *err)
{
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    TM_CLEANUP(freep) uint8_t *bytes = malloc((size_t)(to - from));
    struct chunk_writer cw = CHUNK_WRITER_INIT;
    struct log_chunk root = {.from = from, .term = 1, .counter = 1, .label = "1"};
    struct rel_name rel = task_chunk_name(letter, from);
    struct repo_scope scope;
    struct log_ref ref;
    struct object_info info;
    memset(root.lineage, letter, sizeof(root.lineage));
    if (!bytes)
        return tm_err_oom(err);
    int r = task_scope(&scope, err);
    if (r == 0)
        r = object_scratch_new(&scratch, err);
    if (r == 0)
        r = null_log_fill(conninfo, from, bytes, (size_t)(to - from), err);
    if (r == 0)
        r = chunk_writer_open(&cw, scratch, st, names_full(&scope, rel.s).s, &root, 1, task_nonce,
                              NULL, err);
    if (r == 0)
        r = chunk_writer_data(&cw, slice_of(bytes, (size_t)(to - from)), err);
    if (r == 0)
        r = chunk_writer_finish(&cw, rel.s, &ref, &info, err);
    chunk_writer_release(&cw);
    return r;
}

#endif
