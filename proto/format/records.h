#ifndef TM_PROTO_FORMAT_RECORDS_H
#define TM_PROTO_FORMAT_RECORDS_H
/*
 * The records that stored objects carry, as field tables (proto/wire/codec.h). Most are the root
 * section of an object of their kind; plan_range, segment_range, segment_ref, log_ref and problem
 * are items of streams. proto/README.md says what every field means to a reader.
 *
 * Keys: `start` inclusive, `end` exclusive, an empty end is the top of the key space.
 * A position is compared, by its bytes, only with positions of the same lineage.
 */
#include "proto/format/names.h"
#include "proto/format/object.h"
#include "proto/wire/codec.h"

#define FORMAT_KEY_MAX      1100
#define FORMAT_PATH_MAX     1024
#define FORMAT_BLOB_MAX     262144
#define FORMAT_POSITION_MAX 64
#define FORMAT_LABEL_MAX    64
#define FORMAT_VERSION      1 /* of the repository as a whole */

#define SEGMENT_RANGE_ENCODED_MAX 4096 /* one encoded segment_range always fits */
#define SEGMENT_PROBLEMS_MAX      2    /* in a segment_range; the data object has them all */
#define MANIFEST_PROBLEMS_MAX     1000

/* A place in a tenant's log. */
#define POSITION_FIELDS(X, T)                                                                      \
    X(T, raw, lineage, "l", OPT, 0, 16)                                                            \
    X(T, bin, bytes, "b", REQ, 0, FORMAT_POSITION_MAX)                                             \
    X(T, str, text, "t", OPT, 0, FORMAT_POSITION_MAX - 1)
CODEC_DECLARE(position, POSITION_FIELDS);

/* Something the operator must hear of, such as a corrupt page. Longer paths are cut. */
#define PROBLEM_FIELDS(X, T)                                                                       \
    X(T, str, path, "p", REQ, 0, 399)                                                              \
    X(T, u64, block, "b", OPT, 0, UINT64_MAX)                                                      \
    X(T, str, what, "w", REQ, 0, 159)
CODEC_DECLARE(problem, PROBLEM_FIELDS);

/* repository: tidemark.mpk */
#define REPOSITORY_FIELDS(X, T)                                                                    \
    X(T, u32, version, "version", REQ, 0, UINT32_MAX)                                              \
    X(T, raw, id, "id", REQ, 0, 16)                                                                \
    X(T, i64, created_us, "created", REQ, 0, 0)
CODEC_DECLARE(repository, REPOSITORY_FIELDS);

/* identity: whose data lies below an incarnation */
#define IDENTITY_FIELDS(X, T)                                                                      \
    X(T, str, cluster, "cluster", REQ, 0, NAMES_CLUSTER_MAX)                                       \
    X(T, str, tenant, "tenant", REQ, 0, NAMES_TENANT_MAX)                                          \
    X(T, str, incarnation, "incarnation", REQ, 0, NAMES_INCARNATION_MAX)                           \
    X(T, str, engine, "engine", REQ, 0, 15)                                                        \
    X(T, str, engine_version, "engineVersion", OPT, 0, 31)                                         \
    X(T, i64, created_us, "created", REQ, 0, 0)
CODEC_DECLARE(identity, IDENTITY_FIELDS);

/* data: which range this is */
#define DATA_ROOT_FIELDS(X, T)                                                                     \
    X(T, str, backup_id, "backup", REQ, 0, NAMES_BACKUP_ID_LEN)                                    \
    X(T, u32, range, "range", REQ, 0, UINT32_MAX)                                                  \
    X(T, u64, term, "term", REQ, 0, UINT64_MAX)                                                    \
    X(T, u32, counter, "counter", REQ, 0, UINT32_MAX)                                              \
    X(T, bin, start, "start", REQ, 0, FORMAT_KEY_MAX)                                              \
    X(T, bin, end, "end", REQ, 0, FORMAT_KEY_MAX)                                                  \
    X(T, str, node, "node", OPT, 0, 63)
CODEC_DECLARE(data_root, DATA_ROOT_FIELDS);

/* chunk: one piece of log, bytes [from, to) of the stream */
#define LOG_CHUNK_FIELDS(X, T)                                                                     \
    X(T, raw, lineage, "lineage", REQ, 0, 16)                                                      \
    X(T, str, label, "label", OPT, 0, FORMAT_LABEL_MAX - 1)                                        \
    X(T, u64, from, "from", REQ, 0, UINT64_MAX)                                                    \
    X(T, u64, to, "to", REQ, 0, UINT64_MAX)                                                        \
    X(T, u64, term, "term", REQ, 0, UINT64_MAX)                                                    \
    X(T, u32, counter, "counter", REQ, 0, UINT32_MAX)                                              \
    X(T, u64, previous_end, "previousEnd", OPT, 0, UINT64_MAX)                                     \
    X(T, u32, segment_bytes, "segmentBytes", OPT, 0, UINT32_MAX)                                   \
    X(T, i64, written_us, "written", OPT, 0, 0)                                                    \
    X(T, u64, last_record, "lastRecord", OPT, 0, UINT64_MAX)                                       \
    X(T, u32, events, "events", OPT, 0, UINT32_MAX)                                                \
    X(T, i64, min_us, "minTime", OPT, 0, 0)                                                        \
    X(T, i64, max_us, "maxTime", OPT, 0, 0)                                                        \
    X(T, u64, mark_at, "markAt", OPT, 0, UINT64_MAX)                                               \
    X(T, i64, mark_us, "markTime", OPT, 0, 0)
CODEC_DECLARE(log_chunk, LOG_CHUNK_FIELDS);

/* What a reader of the log must know of a chunk without opening it: item of a log index, and what
 * a list of chunks is made of. The object's name follows from lineage, from and epoch. */
#define LOG_ENTRY_FIELDS(X, T)                                                                     \
    X(T, u64, from, "f", REQ, 0, UINT64_MAX)                                                       \
    X(T, u64, to, "t", REQ, 0, UINT64_MAX)                                                         \
    X(T, u64, term, "e", REQ, 0, UINT64_MAX)                                                       \
    X(T, u32, counter, "c", REQ, 0, UINT32_MAX)                                                    \
    X(T, u64, stored_bytes, "z", REQ, 0, UINT64_MAX)                                               \
    X(T, u64, raw_bytes, "r", REQ, 0, UINT64_MAX)                                                  \
    X(T, raw, digest, "d", REQ, 0, 32)                                                             \
    X(T, u64, last_record, "l", OPT, 0, UINT64_MAX)                                                \
    X(T, u32, events, "n", OPT, 0, UINT32_MAX)                                                     \
    X(T, i64, min_us, "a", OPT, 0, 0)                                                              \
    X(T, i64, max_us, "b", OPT, 0, 0)                                                              \
    X(T, u64, mark_at, "m", OPT, 0, UINT64_MAX)                                                    \
    X(T, i64, mark_us, "k", OPT, 0, 0)
CODEC_DECLARE(log_entry, LOG_ENTRY_FIELDS);

/* log index: the root of a roll-up of `chunks` adjacent chunks, bytes [from, to) without a gap.
 * The object's record stream holds their log_entry records in log order. */
#define LOG_INDEX_FIELDS(X, T)                                                                     \
    X(T, raw, lineage, "lineage", REQ, 0, 16)                                                      \
    X(T, u64, from, "from", REQ, 0, UINT64_MAX)                                                    \
    X(T, u64, to, "to", REQ, 0, UINT64_MAX)                                                        \
    X(T, u32, chunks, "chunks", REQ, 0, UINT32_MAX)                                                \
    X(T, u64, term, "term", REQ, 0, UINT64_MAX)                                                    \
    X(T, u32, counter, "counter", REQ, 0, UINT32_MAX)                                              \
    X(T, u64, stored_bytes, "storedBytes", OPT, 0, UINT64_MAX)                                     \
    X(T, u64, last_record, "lastRecord", OPT, 0, UINT64_MAX)                                       \
    X(T, i64, min_us, "minTime", OPT, 0, 0)                                                        \
    X(T, i64, max_us, "maxTime", OPT, 0, 0)                                                        \
    X(T, u64, mark_at, "markAt", OPT, 0, UINT64_MAX)                                               \
    X(T, i64, mark_us, "markTime", OPT, 0, 0)
CODEC_DECLARE(log_index, LOG_INDEX_FIELDS);

/* mark: at the source's time `time_us` everything acknowledged lay before `at`, and all of that is
 * stored. How an idle log differs from a lost one. */
#define LOG_MARK_FIELDS(X, T)                                                                      \
    X(T, raw, lineage, "lineage", REQ, 0, 16)                                                      \
    X(T, u64, at, "at", REQ, 0, UINT64_MAX)                                                        \
    X(T, i64, time_us, "time", REQ, 0, 0)                                                          \
    X(T, u64, term, "term", REQ, 0, UINT64_MAX)                                                    \
    X(T, u32, counter, "counter", REQ, 0, UINT32_MAX)
CODEC_DECLARE(log_mark, LOG_MARK_FIELDS);

/* truncation: stored before any log is taken away. Log of `lineage` before `from` is absent for
 * every reader, whatever objects are left; `until_us` is the moment that was asked for. */
#define TRUNCATION_FIELDS(X, T)                                                                    \
    X(T, raw, lineage, "lineage", REQ, 0, 16)                                                      \
    X(T, u64, from, "from", REQ, 0, UINT64_MAX)                                                    \
    X(T, i64, until_us, "until", OPT, 0, 0)                                                        \
    X(T, str, until_position, "untilPosition", OPT, 0, FORMAT_POSITION_MAX - 1)                    \
    X(T, u64, term, "term", REQ, 0, UINT64_MAX)                                                    \
    X(T, u32, counter, "counter", REQ, 0, UINT32_MAX)                                              \
    X(T, str, node, "node", OPT, 0, 63)                                                            \
    X(T, i64, created_us, "created", REQ, 0, 0)
CODEC_DECLARE(truncation, TRUNCATION_FIELDS);

/* intent: what the coordinator knew of a resource; `resource` is its own record, without any secret.
 * The newest epoch of a uid counts. */
#define INTENT_FIELDS(X, T)                                                                        \
    X(T, str, uid, "uid", REQ, 0, NAMES_UID_MAX)                                                   \
    X(T, u64, term, "term", REQ, 0, UINT64_MAX)                                                    \
    X(T, u32, counter, "counter", REQ, 0, UINT32_MAX)                                              \
    X(T, bin, resource, "resource", REQ, 0, FORMAT_BLOB_MAX)
CODEC_DECLARE(intent, INTENT_FIELDS);

/* plan: one planned range */
#define PLAN_RANGE_FIELDS(X, T)                                                                    \
    X(T, u32, index, "i", REQ, 0, UINT32_MAX)                                                      \
    X(T, bin, start, "s", REQ, 0, FORMAT_KEY_MAX)                                                  \
    X(T, bin, end, "e", REQ, 0, FORMAT_KEY_MAX)                                                    \
    X(T, u64, bytes, "b", OPT, 0, UINT64_MAX)
CODEC_DECLARE(plan_range, PLAN_RANGE_FIELDS);

/* segment: one stored range. Encoded by a runner when a range is done, opaque to the coordinator.
 */
#define SEGMENT_RANGE_FIELDS(X, T)                                                                 \
    X(T, u32, index, "i", REQ, 0, UINT32_MAX)                                                      \
    X(T, u32, counter, "c", REQ, 0, UINT32_MAX)                                                    \
    X(T, bin, start, "s", REQ, 0, FORMAT_KEY_MAX)                                                  \
    X(T, bin, end, "e", REQ, 0, FORMAT_KEY_MAX)                                                    \
    X(T, u64, term, "t", REQ, 0, UINT64_MAX)                                                       \
    X(T, str, object, "o", REQ, 0, OBJECT_REF_NAME_MAX)                                            \
    X(T, u64, stored_bytes, "z", REQ, 0, UINT64_MAX)                                               \
    X(T, u64, raw_bytes, "r", REQ, 0, UINT64_MAX)                                                  \
    X(T, raw, digest, "d", REQ, 0, 32)                                                             \
    X(T, msg, read_from, "rf", OPT, 0, position)                                                   \
    X(T, msg, read_to, "rt", OPT, 0, position)                                                     \
    X(T, u64, files, "f", OPT, 0, UINT64_MAX)                                                      \
    X(T, u64, pages_checked, "pc", OPT, 0, UINT64_MAX)                                             \
    X(T, u64, pages_unverified, "pu", OPT, 0, UINT64_MAX)                                          \
    X(T, u64, pages_corrupt, "px", OPT, 0, UINT64_MAX)                                             \
    X(T, list, problems, "p", OPT, 0, problem, SEGMENT_PROBLEMS_MAX)
CODEC_DECLARE(segment_range, SEGMENT_RANGE_FIELDS);

/* checkpoint: what an attempt had done when it was stored; its stream holds `results` segment_range
 * records. `begin` is left out where an earlier checkpoint of the same writer has it; its SHA-256 is
 * always there. */
#define CHECKPOINT_FIELDS(X, T)                                                                    \
    X(T, str, backup_id, "backup", REQ, 0, NAMES_BACKUP_ID_LEN)                                    \
    X(T, str, cluster, "cluster", REQ, 0, NAMES_CLUSTER_MAX)                                       \
    X(T, str, tenant, "tenant", REQ, 0, NAMES_TENANT_MAX)                                          \
    X(T, str, incarnation, "incarnation", REQ, 0, NAMES_INCARNATION_MAX)                           \
    X(T, str, engine, "engine", REQ, 0, 15)                                                        \
    X(T, str, lineage_label, "lineageLabel", OPT, 0, FORMAT_LABEL_MAX - 1)                         \
    X(T, msg, replay_from, "replayFrom", OPT, 0, position)                                         \
    X(T, u64, term, "term", REQ, 0, UINT64_MAX)                                                    \
    X(T, u32, counter, "counter", REQ, 0, UINT32_MAX)                                              \
    X(T, u64, plan_term, "planTerm", REQ, 0, UINT64_MAX)                                           \
    X(T, u32, plan_counter, "planCounter", REQ, 0, UINT32_MAX)                                     \
    X(T, u32, plan_ranges, "planRanges", REQ, 0, UINT32_MAX)                                       \
    X(T, bin, begin, "begin", OPT, 0, FORMAT_BLOB_MAX)                                             \
    X(T, raw, begin_digest, "beginDigest", REQ, 0, 32)                                             \
    X(T, u32, results, "results", OPT, 0, UINT32_MAX)                                              \
    X(T, i64, started_us, "started", REQ, 0, 0)                                                    \
    X(T, i64, written_us, "written", OPT, 0, 0)                                                    \
    X(T, str, node, "node", OPT, 0, 63)
CODEC_DECLARE(checkpoint, CHECKPOINT_FIELDS);

/* manifest item: a segment object and what it covers */
#define SEGMENT_REF_FIELDS(X, T)                                                                   \
    X(T, str, object, "o", REQ, 0, OBJECT_REF_NAME_MAX)                                            \
    X(T, u64, stored_bytes, "z", REQ, 0, UINT64_MAX)                                               \
    X(T, u64, raw_bytes, "r", REQ, 0, UINT64_MAX)                                                  \
    X(T, raw, digest, "d", REQ, 0, 32)                                                             \
    X(T, u32, ranges, "n", REQ, 0, UINT32_MAX)                                                     \
    X(T, bin, start, "s", REQ, 0, FORMAT_KEY_MAX)                                                  \
    X(T, bin, end, "e", REQ, 0, FORMAT_KEY_MAX)
CODEC_DECLARE(segment_ref, SEGMENT_REF_FIELDS);

/* manifest item: a log object the backup depends on, its own or the log task's */
#define LOG_REF_FIELDS(X, T)                                                                       \
    X(T, str, object, "o", REQ, 0, OBJECT_REF_NAME_MAX)                                            \
    X(T, u64, stored_bytes, "z", REQ, 0, UINT64_MAX)                                               \
    X(T, u64, raw_bytes, "r", REQ, 0, UINT64_MAX)                                                  \
    X(T, raw, digest, "d", REQ, 0, 32)                                                             \
    X(T, raw, lineage, "l", REQ, 0, 16)                                                            \
    X(T, str, label, "n", OPT, 0, FORMAT_LABEL_MAX - 1)                                            \
    X(T, u64, from, "f", REQ, 0, UINT64_MAX)                                                       \
    X(T, u64, to, "t", REQ, 0, UINT64_MAX)                                                         \
    X(T, flag, task, "k", OPT, 0, 0)
CODEC_DECLARE(log_ref, LOG_REF_FIELDS);

enum backup_kind { BACKUP_FULL = 1, BACKUP_INCREMENTAL = 2 };

/* manifest: the root of a committed backup */
#define MANIFEST_FIELDS(X, T)                                                                      \
    X(T, str, backup_id, "backup", REQ, 0, NAMES_BACKUP_ID_LEN)                                    \
    X(T, str, cluster, "cluster", REQ, 0, NAMES_CLUSTER_MAX)                                       \
    X(T, str, tenant, "tenant", REQ, 0, NAMES_TENANT_MAX)                                          \
    X(T, str, incarnation, "incarnation", REQ, 0, NAMES_INCARNATION_MAX)                           \
    X(T, str, engine, "engine", REQ, 0, 15)                                                        \
    X(T, str, engine_version, "engineVersion", OPT, 0, 31)                                         \
    X(T, u32, kind, "kind", REQ, 0, 2)                                                             \
    X(T, str, parent, "parent", OPT, 0, NAMES_BACKUP_ID_LEN)                                       \
    X(T, raw, lineage, "lineage", OPT, 0, 16)                                                      \
    X(T, str, lineage_label, "lineageLabel", OPT, 0, FORMAT_LABEL_MAX - 1)                         \
    X(T, msg, replay_from, "replayFrom", OPT, 0, position)                                         \
    X(T, msg, consistent_at, "consistentAt", OPT, 0, position)                                     \
    X(T, u64, log_from, "logFrom", OPT, 0, UINT64_MAX)                                             \
    X(T, u64, log_to, "logTo", OPT, 0, UINT64_MAX)                                                 \
    X(T, i64, commit_us, "commit", REQ, 0, 0)                                                      \
    X(T, i64, settled_us, "settled", OPT, 0, 0)                                                    \
    X(T, i64, started_us, "started", REQ, 0, 0)                                                    \
    X(T, i64, completed_us, "completed", REQ, 0, 0)                                                \
    X(T, u64, term, "term", REQ, 0, UINT64_MAX)                                                    \
    X(T, u32, counter, "counter", REQ, 0, UINT32_MAX)                                              \
    X(T, bin, begin, "begin", OPT, 0, FORMAT_BLOB_MAX)                                             \
    X(T, bin, end, "end", OPT, 0, FORMAT_BLOB_MAX)                                                 \
    X(T, u32, segments, "segments", OPT, 0, UINT32_MAX)                                            \
    X(T, u32, ranges, "ranges", OPT, 0, UINT32_MAX)                                                \
    X(T, u32, log_objects, "logObjects", OPT, 0, UINT32_MAX)                                       \
    X(T, u32, problems, "problems", OPT, 0, UINT32_MAX)                                            \
    X(T, u64, raw_bytes, "rawBytes", OPT, 0, UINT64_MAX)                                           \
    X(T, u64, stored_bytes, "storedBytes", OPT, 0, UINT64_MAX)                                     \
    X(T, u64, log_bytes, "logBytes", OPT, 0, UINT64_MAX)                                           \
    X(T, u64, files, "files", OPT, 0, UINT64_MAX)                                                  \
    X(T, u64, pages_checked, "pagesChecked", OPT, 0, UINT64_MAX)                                   \
    X(T, u64, pages_unverified, "pagesUnverified", OPT, 0, UINT64_MAX)                             \
    X(T, u64, pages_corrupt, "pagesCorrupt", OPT, 0, UINT64_MAX)                                   \
    X(T, str, node, "node", OPT, 0, 63)                                                            \
    X(T, str, job, "job", OPT, 0, 127)
CODEC_DECLARE(manifest, MANIFEST_FIELDS);

/* tombstone: deleted.mpk, written before anything of a backup is taken away */
#define TOMBSTONE_FIELDS(X, T)                                                                     \
    X(T, str, backup_id, "backup", REQ, 0, NAMES_BACKUP_ID_LEN)                                    \
    X(T, i64, deleted_us, "deleted", REQ, 0, 0)                                                    \
    X(T, u32, grace_s, "graceSeconds", OPT, 0, UINT32_MAX)                                         \
    X(T, str, reason, "reason", OPT, 0, 127)                                                       \
    X(T, str, node, "node", OPT, 0, 63)                                                            \
    X(T, u64, term, "term", OPT, 0, UINT64_MAX)                                                    \
    X(T, u32, counter, "counter", OPT, 0, UINT32_MAX)
CODEC_DECLARE(tombstone, TOMBSTONE_FIELDS);

/* lineage: one branch of a tenant's log */
#define LINEAGE_FIELDS(X, T)                                                                       \
    X(T, raw, id, "id", REQ, 0, 16)                                                                \
    X(T, raw, parent, "parent", OPT, 0, 16)                                                        \
    X(T, u64, fork, "fork", OPT, 0, UINT64_MAX)                                                    \
    X(T, str, label, "label", OPT, 0, FORMAT_LABEL_MAX - 1)                                        \
    X(T, bin, history, "history", OPT, 0, 65536)                                                   \
    X(T, bin, facts, "facts", OPT, 0, 65536)                                                       \
    X(T, u64, from, "from", OPT, 0, UINT64_MAX)                                                    \
    X(T, u64, segment_bytes, "segmentBytes", OPT, 0, UINT64_MAX)                                   \
    X(T, str, node, "node", OPT, 0, 63)                                                            \
    X(T, i64, created_us, "created", REQ, 0, 0)
CODEC_DECLARE(lineage, LINEAGE_FIELDS);

/* writer: from where on older epochs' chunks count no more */
#define LOG_WRITER_FIELDS(X, T)                                                                    \
    X(T, raw, lineage, "lineage", REQ, 0, 16)                                                      \
    X(T, u64, term, "term", REQ, 0, UINT64_MAX)                                                    \
    X(T, u32, counter, "counter", REQ, 0, UINT32_MAX)                                              \
    X(T, u64, from, "from", REQ, 0, UINT64_MAX)                                                    \
    X(T, raw, digest, "digest", OPT, 0, 32)                                                        \
    X(T, str, node, "node", OPT, 0, 63)                                                            \
    X(T, i64, created_us, "created", REQ, 0, 0)                                                    \
    X(T, flag, gap, "gap", OPT, 0, 0)                                                              \
    X(T, u64, gap_from, "gapFrom", OPT, 0, UINT64_MAX)                                             \
    X(T, str, gap_reason, "gapReason", OPT, 0, 127)
CODEC_DECLARE(log_writer, LOG_WRITER_FIELDS);

/* Any of these records as the root section of an object of `kind`. */
int record_put(struct object_scratch *scratch, struct storage *st, const char *name,
               enum object_kind kind, const uint8_t nonce[OBJECT_NONCE_BYTES],
               const struct codec_table *table, const void *record, struct object_info *ret,
               struct tm_err *err) TM_WUR;
int record_get(struct object_scratch *scratch, struct storage *st, const char *name,
               enum object_kind kind, const struct codec_table *table, struct codec_arena *arena,
               void *record, struct tm_err *err) TM_WUR;

/* What metadata keeps of an object: rel and info together. */
struct object_ref object_ref_of(const char *rel, const struct object_info *info);
struct object_ref segment_range_object(const struct segment_range *range);
struct object_ref segment_ref_object(const struct segment_ref *ref);
struct object_ref log_ref_object(const struct log_ref *ref);

/* Fills a problem; what is too long is cut at a character. */
void problem_set(struct problem *p, const char *path, uint64_t block, const char *what);

#endif
