#ifndef TM_PROTO_FORMAT_NAMES_H
#define TM_PROTO_FORMAT_NAMES_H
/*
 * Names of stored objects and of backups. Everything that has a place in a repository gets its name
 * here and nowhere else:
 *
 *   tidemark.mpk
 *   <cluster>/<tenant>/<incarnation>/identity.mpk
 *     backup/<id>/plan/<epoch>-<seq>         backup/<id>/data/<range>-<epoch>
 *     backup/<id>/checkpoint/<epoch>-<seq>   backup/<id>/log/<from>-<epoch>
 *     backup/<id>/manifest.mpk               backup/<id>/deleted.mpk
 *     log/<lineage>/lineage.mpk              log/<lineage>/writer/<epoch>
 *     log/<lineage>/chunk/<from>-<epoch>     log/<lineage>/mark/<at>-<epoch>-<seq>
 *     log/<lineage>/index/<from>-<epoch>     log/<lineage>/claim/<epoch>
 *     truncate/<epoch>-<seq>                 intent/<uid>-<epoch>
 *
 * <epoch> is 16 hex digits of term, '.', 8 hex digits of counter; <seq> and <range> are 8 hex
 * digits; <from> is a stream byte as 16 hex digits; <lineage> is 32 hex digits: byte order is
 * number order. Relative names (`names_rel_…`) start below the incarnation: that is how metadata
 * names objects; names_full puts the scope in front. Functions that build into fixed arrays cannot
 * fail: their parts are bounded by type; scopes are checked once by names_scope_set.
 */
#include <stdint.h>

#include "common/err.h"
#include "common/storage/storage.h"
#include "proto/format/object.h"

#define NAMES_CLUSTER_MAX     63
#define NAMES_TENANT_MAX      63
#define NAMES_INCARNATION_MAX 64
#define NAMES_BACKUP_ID_LEN   25 /* YYYYMMDDTHHMMSSZ-<8 hex> */
#define NAMES_LINEAGE_BYTES   16
#define NAMES_UID_MAX         32 /* of a resource */
#define NAMES_REPOSITORY      "tidemark.mpk"

/* Who may write: (term, counter), compared in that order. */
struct epoch {
    uint64_t term;
    uint32_t counter;
};

static inline TM_UNUSED int epoch_cmp(struct epoch a, struct epoch b)
{
    if (a.term != b.term)
        return a.term < b.term ? -1 : 1;
    return a.counter < b.counter ? -1 : a.counter > b.counter;
}

/* One incarnation of one tenant: what all backups and logs of it share. */
struct repo_scope {
    char cluster[NAMES_CLUSTER_MAX + 1];
    char tenant[NAMES_TENANT_MAX + 1];
    char incarnation[NAMES_INCARNATION_MAX + 1];
};

struct full_name {
    char s[STORAGE_NAME_MAX + 1];
};
struct rel_name {
    char s[OBJECT_REF_NAME_MAX + 1];
};

/* Whether `text` may be a cluster, tenant or incarnation: [A-Za-z0-9_] first, then also . = + -, at
 * most max_len, and not ending in ".mpk". */
bool names_part_valid(const char *text, size_t max_len);
/* Checks and copies. TM_E_INVALID "cluster name 'x/y' is not valid: …". */
int names_scope_set(struct repo_scope *scope, const char *cluster, const char *tenant,
                    const char *incarnation, struct tm_err *err) TM_WUR;

/* "<cluster>/<tenant>/<incarnation>/<rel>" */
struct full_name names_full(const struct repo_scope *scope, const char *rel);
struct full_name names_identity(const struct repo_scope *scope);
/* "<cluster>/<tenant>/<incarnation>/backup/" */
struct full_name names_backups_prefix(const struct repo_scope *scope);
/* "…/backup/<id>/" */
struct full_name names_backup_prefix(const struct repo_scope *scope, const char *backup_id);
/* "…/backup/<id>/<below>" */
struct full_name names_backup_below(const struct repo_scope *scope, const char *backup_id,
                                    const char *below);

struct rel_name names_rel_plan(const char *backup_id, struct epoch epoch, uint32_t seq);
struct rel_name names_rel_checkpoint(const char *backup_id, struct epoch epoch, uint32_t seq);
struct rel_name names_rel_data(const char *backup_id, uint32_t range, struct epoch epoch);
struct rel_name names_rel_backup_log(const char *backup_id, uint64_t from, struct epoch epoch);
struct rel_name names_rel_manifest(const char *backup_id);
struct rel_name names_rel_deleted(const char *backup_id);
struct rel_name names_rel_lineage(const uint8_t lineage[NAMES_LINEAGE_BYTES]);
struct rel_name names_rel_writer(const uint8_t lineage[NAMES_LINEAGE_BYTES], struct epoch epoch);
struct rel_name names_rel_claim(const uint8_t lineage[NAMES_LINEAGE_BYTES], struct epoch epoch);
struct rel_name names_rel_chunk(const uint8_t lineage[NAMES_LINEAGE_BYTES], uint64_t from,
                                struct epoch epoch);
struct rel_name names_rel_mark(const uint8_t lineage[NAMES_LINEAGE_BYTES], uint64_t at,
                               struct epoch epoch, uint32_t seq);
struct rel_name names_rel_log_index(const uint8_t lineage[NAMES_LINEAGE_BYTES], uint64_t from,
                                    struct epoch epoch);
struct rel_name names_rel_truncate(struct epoch epoch, uint32_t seq);
/* uid: 1 to NAMES_UID_MAX of [0-9a-z] (names_uid_valid). */
struct rel_name names_rel_intent(const char *uid, struct epoch epoch);
bool names_uid_valid(const char *text);
/* "…/intent/", or "…/intent/<uid>-" */
struct full_name names_intents_prefix(const struct repo_scope *scope, const char *uid);
/* "…/log/", "…/log/<lineage>/", and one of its rooms: "chunk", "mark", "index", "writer", "claim" */
struct full_name names_logs_prefix(const struct repo_scope *scope);
struct full_name names_log_prefix(const struct repo_scope *scope,
                                  const uint8_t lineage[NAMES_LINEAGE_BYTES], const char *room);

enum name_kind {
    NAME_OTHER, /* nothing Tidemark knows: left alone by everybody */
    NAME_PLAN,
    NAME_CHECKPOINT,
    NAME_DATA,
    NAME_BACKUP_LOG,
    NAME_MANIFEST,
    NAME_DELETED,
    NAME_LINEAGE,
    NAME_WRITER,
    NAME_CLAIM,
    NAME_CHUNK,
    NAME_MARK,
    NAME_LOG_INDEX,
    NAME_TRUNCATE,
    NAME_INTENT,
};

/* A relative name, taken apart; fields that the kind does not have are zero. */
struct name_parts {
    enum name_kind kind;
    char backup_id[NAMES_BACKUP_ID_LEN + 1];
    uint8_t lineage[NAMES_LINEAGE_BYTES];
    char uid[NAMES_UID_MAX + 1];
    struct epoch epoch;
    uint32_t number; /* range or seq */
    uint64_t from;
};
/* Never fails: what does not match exactly is NAME_OTHER. */
struct name_parts names_parse_rel(const char *rel);

/* `start_us` to the second, UTC, and 32 random bits. */
void names_backup_id(int64_t start_us, uint32_t random, char ret[NAMES_BACKUP_ID_LEN + 1]);
bool names_backup_id_valid(const char *text);

/* 16 bytes as 32 lower-case hex digits, and back (exactly 32 digits). */
void names_lineage_text(const uint8_t lineage[NAMES_LINEAGE_BYTES], char ret[33]);
bool names_lineage_parse(const char *text, uint8_t ret[NAMES_LINEAGE_BYTES]);

#endif
