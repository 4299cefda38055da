/* Names, built from bounded parts and parsed by exact comparison: a name is known only when
 * building it again from its parts gives the same text. */
#include "proto/format/names.h"

#include <inttypes.h>

#include "common/hash.h"

#define EPOCH_FORMAT "%016" PRIx64 ".%08" PRIx32

static bool first_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool names_part_valid(const char *text, size_t max_len)
{
    size_t len = strnlen(text, max_len + 1);
    if (len == 0 || len > max_len || !first_char(text[0]))
        return false;
    for (size_t i = 1; i < len; i++) {
        if (!first_char(text[i]) && strchr(".=+-", text[i]) == NULL)
            return false;
    }
    return len < 4 || strcmp(text + len - 4, ".mpk") != 0;
}

static int part_copy(const char *what, const char *text, char *dst, size_t max_len,
                     struct tm_err *err)
{
    if (!names_part_valid(text, max_len))
        return tm_err_set(err, TM_E_INVALID,
                          "%s name '%s' is not valid: 1 to %zu of letters, digits and . _ = + -, "
                          "starting with a letter, digit or _",
                          what, text, max_len);
    (void)snprintf(dst, max_len + 1, "%s", text);
    return 0;
}

int names_scope_set(struct repo_scope *scope, const char *cluster, const char *tenant,
                    const char *incarnation, struct tm_err *err)
{
    struct repo_scope s = {0};
    int r = part_copy("cluster", cluster, s.cluster, NAMES_CLUSTER_MAX, err);
    if (r == 0)
        r = part_copy("tenant", tenant, s.tenant, NAMES_TENANT_MAX, err);
    if (r == 0)
        r = part_copy("incarnation", incarnation, s.incarnation, NAMES_INCARNATION_MAX, err);
    if (r == 0)
        *scope = s;
    return r;
}

/* ---- building ---- */

struct full_name names_full(const struct repo_scope *scope, const char *rel)
{
    struct full_name n;
    (void)snprintf(n.s, sizeof(n.s), "%s/%s/%s/%s", scope->cluster, scope->tenant,
                   scope->incarnation, rel);
    return n;
}

struct full_name names_identity(const struct repo_scope *scope)
{
    return names_full(scope, "identity.mpk");
}

struct full_name names_backups_prefix(const struct repo_scope *scope)
{
    return names_full(scope, "backup/");
}

struct full_name names_backup_prefix(const struct repo_scope *scope, const char *backup_id)
{
    return names_backup_below(scope, backup_id, "");
}

struct full_name names_backup_below(const struct repo_scope *scope, const char *backup_id,
                                    const char *below)
{
    struct rel_name rel;
    (void)snprintf(rel.s, sizeof(rel.s), "backup/%.*s/%s", NAMES_BACKUP_ID_LEN, backup_id, below);
    return names_full(scope, rel.s);
}

static struct rel_name backup_object(const char *backup_id, const char *dir, struct epoch epoch,
                                     uint32_t seq)
{
    struct rel_name n;
    (void)snprintf(n.s, sizeof(n.s), "backup/%.*s/%s/" EPOCH_FORMAT "-%08" PRIx32,
                   NAMES_BACKUP_ID_LEN, backup_id, dir, epoch.term, epoch.counter, seq);
    return n;
}

struct rel_name names_rel_plan(const char *backup_id, struct epoch epoch, uint32_t seq)
{
    return backup_object(backup_id, "plan", epoch, seq);
}

struct rel_name names_rel_checkpoint(const char *backup_id, struct epoch epoch, uint32_t seq)
{
    return backup_object(backup_id, "checkpoint", epoch, seq);
}

struct rel_name names_rel_data(const char *backup_id, uint32_t range, struct epoch epoch)
{
    struct rel_name n;
    (void)snprintf(n.s, sizeof(n.s), "backup/%.*s/data/%08" PRIx32 "-" EPOCH_FORMAT,
                   NAMES_BACKUP_ID_LEN, backup_id, range, epoch.term, epoch.counter);
    return n;
}

struct rel_name names_rel_backup_log(const char *backup_id, uint64_t from, struct epoch epoch)
{
    struct rel_name n;
    (void)snprintf(n.s, sizeof(n.s), "backup/%.*s/log/%016" PRIx64 "-" EPOCH_FORMAT,
                   NAMES_BACKUP_ID_LEN, backup_id, from, epoch.term, epoch.counter);
    return n;
}

static struct rel_name backup_file(const char *backup_id, const char *file)
{
    struct rel_name n;
    (void)snprintf(n.s, sizeof(n.s), "backup/%.*s/%s", NAMES_BACKUP_ID_LEN, backup_id, file);
    return n;
}

struct rel_name names_rel_manifest(const char *backup_id)
{
    return backup_file(backup_id, "manifest.mpk");
}

struct rel_name names_rel_deleted(const char *backup_id)
{
    return backup_file(backup_id, "deleted.mpk");
}

struct rel_name names_rel_lineage(const uint8_t lineage[NAMES_LINEAGE_BYTES])
{
    char text[33];
    struct rel_name n;
    names_lineage_text(lineage, text);
    (void)snprintf(n.s, sizeof(n.s), "log/%s/lineage.mpk", text);
    return n;
}

static struct rel_name by_epoch(const uint8_t lineage[NAMES_LINEAGE_BYTES], const char *room,
                                struct epoch epoch)
{
    char text[33];
    struct rel_name n;
    names_lineage_text(lineage, text);
    (void)snprintf(n.s, sizeof(n.s), "log/%s/%s/" EPOCH_FORMAT, text, room, epoch.term,
                   epoch.counter);
    return n;
}

struct rel_name names_rel_writer(const uint8_t lineage[NAMES_LINEAGE_BYTES], struct epoch epoch)
{
    return by_epoch(lineage, "writer", epoch);
}

struct rel_name names_rel_claim(const uint8_t lineage[NAMES_LINEAGE_BYTES], struct epoch epoch)
{
    return by_epoch(lineage, "claim", epoch);
}

static struct rel_name by_start(const uint8_t lineage[NAMES_LINEAGE_BYTES], const char *room,
                                uint64_t from, struct epoch epoch)
{
    char text[33];
    struct rel_name n;
    names_lineage_text(lineage, text);
    (void)snprintf(n.s, sizeof(n.s), "log/%s/%s/%016" PRIx64 "-" EPOCH_FORMAT, text, room, from,
                   epoch.term, epoch.counter);
    return n;
}

struct rel_name names_rel_chunk(const uint8_t lineage[NAMES_LINEAGE_BYTES], uint64_t from,
                                struct epoch epoch)
{
    return by_start(lineage, "chunk", from, epoch);
}

struct rel_name names_rel_mark(const uint8_t lineage[NAMES_LINEAGE_BYTES], uint64_t at,
                               struct epoch epoch, uint32_t seq)
{
    char text[33];
    struct rel_name n;
    names_lineage_text(lineage, text);
    (void)snprintf(n.s, sizeof(n.s), "log/%s/mark/%016" PRIx64 "-" EPOCH_FORMAT "-%08" PRIx32, text,
                   at, epoch.term, epoch.counter, seq);
    return n;
}

struct rel_name names_rel_log_index(const uint8_t lineage[NAMES_LINEAGE_BYTES], uint64_t from,
                                    struct epoch epoch)
{
    return by_start(lineage, "index", from, epoch);
}

struct rel_name names_rel_truncate(struct epoch epoch, uint32_t seq)
{
    struct rel_name n;
    (void)snprintf(n.s, sizeof(n.s), "truncate/" EPOCH_FORMAT "-%08" PRIx32, epoch.term,
                   epoch.counter, seq);
    return n;
}

bool names_uid_valid(const char *text)
{
    size_t len = strnlen(text, NAMES_UID_MAX + 1);
    for (size_t i = 0; i < len; i++) {
        if (!(text[i] >= '0' && text[i] <= '9') && !(text[i] >= 'a' && text[i] <= 'z'))
            return false;
    }
    return len > 0 && len <= NAMES_UID_MAX;
}

struct rel_name names_rel_intent(const char *uid, struct epoch epoch)
{
    struct rel_name n;
    (void)snprintf(n.s, sizeof(n.s), "intent/%.*s-" EPOCH_FORMAT, NAMES_UID_MAX, uid, epoch.term,
                   epoch.counter);
    return n;
}

struct full_name names_intents_prefix(const struct repo_scope *scope, const char *uid)
{
    struct rel_name rel;
    (void)snprintf(rel.s, sizeof(rel.s), "intent/%.*s%s", NAMES_UID_MAX, uid,
                   uid[0] != '\0' ? "-" : "");
    return names_full(scope, rel.s);
}

struct full_name names_logs_prefix(const struct repo_scope *scope)
{
    return names_full(scope, "log/");
}

struct full_name names_log_prefix(const struct repo_scope *scope,
                                  const uint8_t lineage[NAMES_LINEAGE_BYTES], const char *room)
{
    char text[33];
    struct rel_name rel;
    names_lineage_text(lineage, text);
    (void)snprintf(rel.s, sizeof(rel.s), "log/%s/%s%s", text, room, room[0] != '\0' ? "/" : "");
    return names_full(scope, rel.s);
}

/* ---- parsing ---- */

/* `digits` lower-case hex digits, exactly; moves *text behind them. */
static bool take_hex(const char **text, size_t digits, uint64_t *ret)
{
    uint64_t value = 0;
    const char *p = *text;
    for (size_t i = 0; i < digits; i++) {
        int digit = hex_value(p[i]);
        if (digit < 0 || (p[i] >= 'A' && p[i] <= 'F'))
            return false;
        value = value << 4 | (uint64_t)digit;
    }
    *text = p + digits;
    *ret = value;
    return true;
}

static bool take_text(const char **text, const char *expected)
{
    size_t len = strlen(expected);
    if (strncmp(*text, expected, len) != 0)
        return false;
    *text += len;
    return true;
}

static bool take_epoch(const char **text, struct epoch *ret)
{
    uint64_t counter = 0;
    if (!take_hex(text, 16, &ret->term) || !take_text(text, ".") || !take_hex(text, 8, &counter))
        return false;
    ret->counter = (uint32_t)counter;
    return true;
}

/* <epoch>-<seq> */
static bool take_epoch_seq(const char *text, struct name_parts *p)
{
    uint64_t seq = 0;
    if (!take_epoch(&text, &p->epoch) || !take_text(&text, "-") || !take_hex(&text, 8, &seq))
        return false;
    p->number = (uint32_t)seq;
    return *text == '\0';
}

/* <from>-<epoch> */
static bool take_from_epoch(const char *text, struct name_parts *p)
{
    return take_hex(&text, 16, &p->from) && take_text(&text, "-") && take_epoch(&text, &p->epoch) &&
           *text == '\0';
}

static bool take_range_epoch(const char *text, struct name_parts *p)
{
    uint64_t range = 0;
    if (!take_hex(&text, 8, &range) || !take_text(&text, "-") || !take_epoch(&text, &p->epoch))
        return false;
    p->number = (uint32_t)range;
    return *text == '\0';
}

static enum name_kind parse_backup(const char *text, struct name_parts *p)
{
    if (strcmp(text, "manifest.mpk") == 0)
        return NAME_MANIFEST;
    if (strcmp(text, "deleted.mpk") == 0)
        return NAME_DELETED;
    if (take_text(&text, "data/"))
        return take_range_epoch(text, p) ? NAME_DATA : NAME_OTHER;
    if (take_text(&text, "log/"))
        return take_from_epoch(text, p) ? NAME_BACKUP_LOG : NAME_OTHER;
    if (take_text(&text, "plan/"))
        return take_epoch_seq(text, p) ? NAME_PLAN : NAME_OTHER;
    if (take_text(&text, "checkpoint/"))
        return take_epoch_seq(text, p) ? NAME_CHECKPOINT : NAME_OTHER;
    return NAME_OTHER;
}

static enum name_kind parse_log(const char *text, struct name_parts *p)
{
    if (strcmp(text, "lineage.mpk") == 0)
        return NAME_LINEAGE;
    if (take_text(&text, "writer/"))
        return take_epoch(&text, &p->epoch) && *text == '\0' ? NAME_WRITER : NAME_OTHER;
    if (take_text(&text, "claim/"))
        return take_epoch(&text, &p->epoch) && *text == '\0' ? NAME_CLAIM : NAME_OTHER;
    if (take_text(&text, "chunk/"))
        return take_from_epoch(text, p) ? NAME_CHUNK : NAME_OTHER;
    if (take_text(&text, "index/"))
        return take_from_epoch(text, p) ? NAME_LOG_INDEX : NAME_OTHER;
    if (take_text(&text, "mark/") && take_hex(&text, 16, &p->from) && take_text(&text, "-"))
        return take_epoch_seq(text, p) ? NAME_MARK : NAME_OTHER;
    return NAME_OTHER;
}

/* <uid>-<epoch> */
static enum name_kind parse_intent(const char *text, struct name_parts *p)
{
    size_t len = strcspn(text, "-");
    if (len > NAMES_UID_MAX)
        return NAME_OTHER;
    memcpy(p->uid, text, len);
    text += len;
    if (!names_uid_valid(p->uid) || !take_text(&text, "-") || !take_epoch(&text, &p->epoch))
        return NAME_OTHER;
    return *text == '\0' ? NAME_INTENT : NAME_OTHER;
}

struct name_parts names_parse_rel(const char *rel)
{
    struct name_parts p = {.kind = NAME_OTHER};
    char part[NAMES_LINEAGE_BYTES * 2 + 1] = "";
    if (take_text(&rel, "intent/")) {
        p.kind = parse_intent(rel, &p);
        return p.kind == NAME_OTHER ? (struct name_parts){.kind = NAME_OTHER} : p;
    }
    if (take_text(&rel, "truncate/")) {
        p.kind = take_epoch_seq(rel, &p) ? NAME_TRUNCATE : NAME_OTHER;
        return p.kind == NAME_OTHER ? (struct name_parts){.kind = NAME_OTHER} : p;
    }
    bool backup = take_text(&rel, "backup/");
    bool log = !backup && take_text(&rel, "log/");
    size_t len = backup ? NAMES_BACKUP_ID_LEN : NAMES_LINEAGE_BYTES * 2;
    if ((!backup && !log) || strnlen(rel, len + 1) <= len || rel[len] != '/')
        return (struct name_parts){.kind = NAME_OTHER};
    memcpy(part, rel, len);
    if (backup && names_backup_id_valid(part)) {
        memcpy(p.backup_id, part, NAMES_BACKUP_ID_LEN);
        p.kind = parse_backup(rel + len + 1, &p);
    } else if (log && names_lineage_parse(part, p.lineage)) {
        p.kind = parse_log(rel + len + 1, &p);
    }
    if (p.kind == NAME_OTHER)
        return (struct name_parts){.kind = NAME_OTHER};
    return p;
}

/* ---- backup ids and lineages ---- */

void names_backup_id(int64_t start_us, uint32_t random, char ret[NAMES_BACKUP_ID_LEN + 1])
{
    time_t seconds = (time_t)(start_us / 1000000);
    struct tm utc = {0};
    (void)gmtime_r(&seconds, &utc);
    char text[64];
    (void)snprintf(text, sizeof(text), "%04u%02u%02uT%02u%02u%02uZ-%08" PRIx32,
                   (unsigned)(utc.tm_year + 1900) % 10000u, (unsigned)(utc.tm_mon + 1) % 100u,
                   (unsigned)utc.tm_mday % 100u, (unsigned)utc.tm_hour % 100u,
                   (unsigned)utc.tm_min % 100u, (unsigned)utc.tm_sec % 100u, random);
    memcpy(ret, text, NAMES_BACKUP_ID_LEN);
    ret[NAMES_BACKUP_ID_LEN] = '\0';
}

bool names_backup_id_valid(const char *text)
{
    static const char form[] = "ddddddddTddddddZ-xxxxxxxx";
    if (strnlen(text, NAMES_BACKUP_ID_LEN + 1) != NAMES_BACKUP_ID_LEN)
        return false;
    for (size_t i = 0; i < NAMES_BACKUP_ID_LEN; i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';
        bool hex = digit || (text[i] >= 'a' && text[i] <= 'f');
        bool good = text[i] == form[i];
        if (form[i] == 'd')
            good = digit;
        else if (form[i] == 'x')
            good = hex;
        if (!good)
            return false;
    }
    return true;
}

void names_lineage_text(const uint8_t lineage[NAMES_LINEAGE_BYTES], char ret[33])
{
    (void)hex_encode(lineage, NAMES_LINEAGE_BYTES, ret);
}

bool names_lineage_parse(const char *text, uint8_t ret[NAMES_LINEAGE_BYTES])
{
    uint8_t id[NAMES_LINEAGE_BYTES];
    for (size_t i = 0; i < NAMES_LINEAGE_BYTES; i++) {
        uint64_t byte = 0;
        if (!take_hex(&text, 2, &byte))
            return false;
        id[i] = (uint8_t)byte;
    }
    if (*text != '\0')
        return false;
    memcpy(ret, id, sizeof(id));
    return true;
}
