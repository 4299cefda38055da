#ifndef TM_PROTO_SPEC_SPEC_H
#define TM_PROTO_SPEC_SPEC_H
/*
 * Resources: what operators write in YAML and apply.
 *
 *     TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
 *     if (resource_parse("backup.yaml", bytes, &list, err) < 0) return …;
 *     for each list.items[n]:
 *         if (resource_check_apply(list.items[n], err) < 0) return …;
 *         … TM_TAKE(list.items[n]) hands one over …
 *     show list.warnings
 *
 * Kinds Backup, Restore, BackupSchedule and CompactBackup under apiVersion tidemark/v1,
 * pingcap.com/v1alpha1 and br.pingcap.com/v1alpha1. Parsing is strict: an unknown field, a wrong
 * type, a value that does not parse is TM_E_INVALID "FILE:line:column: …", with a suggestion where
 * one is near. Fields that mean something only inside Kubernetes are accepted with a warning each.
 *
 * What can be written but not done in this version (schedules, compaction) parses,
 * and is refused by resource_check_apply with a sentence that says so; what cannot ever be done by a
 * physical backup (timeAgo, tableFilter) is refused there, too.
 *
 * A resource keeps `document`, its canonical form: one line of JSON {apiVersion, kind, metadata,
 * spec}, everything as given, in the order given. JSON is YAML: resource_parse reads it back. Two
 * applied resources are the same exactly when their documents are the same bytes.
 *
 * Ownership: a resource owns all it points to, until resource_free. Not thread safe; parsing
 * different input in different threads is fine (but time zones: see common/cron.h).
 */
#include <stdint.h>

#include "common/buf.h"
#include "common/cron.h"
#include "common/err.h"
#include "common/schema.h"

#define RESOURCE_NAME_MAX     63 /* also of clusters, tenants, nodes, namespaces */
#define RESOURCE_LIST_MAX     YAML_MAX_DOCS
#define RESOURCE_DOCUMENT_MAX ((size_t)256 << 10) /* canonical form of one resource */
#define RESOURCE_NAMESPACE    "default"
#define RESOURCE_TENANT       "main"

/*      enum             kind,             plural words of the CLI: first is the output form */
#define RESOURCE_KIND_MAP(X)                                                                       \
    X(BACKUP, "Backup", "backup")                                                                  \
    X(RESTORE, "Restore", "restore")                                                               \
    X(BACKUP_SCHEDULE, "BackupSchedule", "backupschedule")                                         \
    X(COMPACT_BACKUP, "CompactBackup", "compactbackup")

enum resource_kind {
    RESOURCE_NONE = 0,
#define RESOURCE_KIND_ENUM(name, kind, word) RESOURCE_##name,
    RESOURCE_KIND_MAP(RESOURCE_KIND_ENUM)
#undef RESOURCE_KIND_ENUM
};

/* "Backup" */
const char *resource_kind_text(enum resource_kind kind);
/* "backup": what stands before the slash in "backup/NAME created" */
const char *resource_kind_word(enum resource_kind kind);
/* From any word an operator may use: Backup, backup, backups, bk, bks, cpbk, rt, …; unknown:
 * TM_E_INVALID with a suggestion. */
int resource_kind_parse(const char *word, enum resource_kind *ret_kind, struct tm_err *err) TM_WUR;

/* Lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit. `what`
 * starts the message: "name 'X' …". */
int resource_name_check(const char *what, const char *name, struct tm_err *err) TM_WUR;

/* ---- storage ---- */

enum storage_spec_kind {
    STORAGE_SPEC_NONE = 0,
    STORAGE_SPEC_LOCAL,
    STORAGE_SPEC_NFS,
    STORAGE_SPEC_S3,
    STORAGE_SPEC_AZBLOB,
    STORAGE_SPEC_OSS,
    STORAGE_SPEC_COS,
};

struct storage_spec {
    enum storage_spec_kind kind; /* NONE: no storage block was given */
    char *url; /* what the drivers open: "file:///path/prefix", "s3://bucket/prefix?…"; oss and cos
                  are s3:// with their provider */
    char *secret_name; /* NULL = none */
};

/* Whether two storage URLs name one place, however it is reached and whatever is stored there
 * is like: storage class, proxy and the like do not tell places apart. */
bool storage_place_equal(const char *a, const char *b);

/* ---- br ---- */

struct br_spec {
    char *cluster;              /* required */
    char *tenant;               /* NULL = all of the cluster's */
    char *cluster_namespace;    /* accepted, without meaning; NULL = not given */
    int64_t concurrency;        /* threads a node, 1 to 256; 0 = the agent's default */
    int64_t rate_limit_mib;     /* MiB/s a node, of bytes read from the database; 0 = none */
    char *time_ago;             /* refused at apply */
    char *database;             /* br.db, refused at apply */
    char *table;                /* br.table or --filter, refused at apply */
    bool checksum;              /* verify every stored object before Complete; default false */
    bool own_credentials;       /* agents use their own, and are not sent what secretName holds */
    bool no_checkpoint;         /* an interrupted backup begins anew */
    int64_t gcttl_us;           /* how long a log hold may live unattended; 0 = default */
    struct schema_list options; /* char *; BR flags: the known ones were taken over above */
};

/* ---- the kinds ---- */

enum backup_type { BACKUP_TYPE_FULL, BACKUP_TYPE_PART, BACKUP_TYPE_OTHER };
enum backup_mode { BACKUP_MODE_SNAPSHOT, BACKUP_MODE_LOG, BACKUP_MODE_VOLUME };
enum clean_policy { CLEAN_RETAIN, CLEAN_ON_FAILURE, CLEAN_DELETE };
enum log_subcommand { LOG_SUBCOMMAND_NONE, LOG_START, LOG_STOP, LOG_PAUSE };
enum log_from { LOG_SOURCE_PRIMARY, LOG_SOURCE_STANDBY };
enum backup_from {
    BACKUP_FROM_PRIMARY, /* the primary alone */
    BACKUP_FROM_STANDBY, /* standbys, as long as there are any; the primary what only it can */
    BACKUP_FROM_ANY,     /* whoever is quick */
};
enum hold_policy { HOLD_ALERT, HOLD_RELEASE };

struct retry_policy {
    int64_t min_retry_us;     /* default 300 s; doubled each time */
    int64_t max_retry_times;  /* default 2 */
    int64_t retry_timeout_us; /* default 30 min, from the first failure */
};

struct alerts_spec {
    int64_t backup_timeout_us;
    int64_t log_latency_us;
    int64_t failed_period_us;
};

struct backup_spec {
    int type; /* enum backup_type; only FULL is carried out */
    int mode; /* enum backup_mode */
    struct br_spec br;
    struct storage_spec storage;
    enum clean_policy clean_policy; /* default Retain */
    int64_t clean_grace_us;         /* from the deletion on to the removal; default 10 min */
    char *compression;              /* "zstd", "zstd:LEVEL", "none"; default "zstd:3" */
    enum backup_from from;          /* which nodes read ranges */
    bool fast_start;                /* immediate checkpoint at begin; default true */
    bool accept_incarnation; /* another identity under this name is meant: pg_upgrade, initdb */
    uint64_t range_bytes;    /* aimed size of a range; 0 = the agent's default */
    char *log_backup;        /* name of a log backup to lean on; NULL = own log only */
    struct schema_list table_filter; /* char *; refused at apply */
    struct retry_policy *retry;      /* NULL: a failed backup stays failed */
    struct alerts_spec *alerts;      /* NULL = none */
    /* backupMode log */
    int log_subcommand; /* enum log_subcommand; NONE = start, or stop with log_stop */
    bool log_stop;      /* the older form of log-stop */
    char *log_truncate_until;
    bool log_truncate_force;
    int64_t log_truncate_grace_us; /* from then on to the removal; default 10 min */
    int64_t flush_interval_us;     /* default 5 s */
    uint64_t hold_limit;           /* bytes of log held at the source; 0 = none */
    int on_hold_limit;             /* enum hold_policy */
    int log_source;                /* enum log_from */
    char *commit_ts; /* where to begin: taken with a warning, log begins at the start */
};

enum restore_mode { RESTORE_MODE_SNAPSHOT, RESTORE_MODE_PITR, RESTORE_MODE_VOLUME };

#define RESTORE_MAP_MAX 32 /* tablespaces mapped, server options set */

/* At most one of time, position, xid, name, immediate. None: the end of the stored log with
 * restoreMode pitr, else immediate, the end of the backup. */
struct restore_target {
    char *time; /* a moment that is no position, checked */
    char *position;
    char *xid;
    char *name;
    bool immediate;
    bool inclusive; /* default true */
    char *lineage;  /* 32 hex digits; NULL = choose */
};

struct restore_spec {
    int type;          /* enum backup_type */
    int mode;          /* enum restore_mode */
    struct br_spec br; /* cluster may be missing when `backup` names a Backup */
    struct storage_spec storage;
    struct storage_spec full_storage; /* pitrFullBackupStorageProvider */
    char *backup;   /* a Backup of the same namespace, or a backup id; NULL = newest in storage */
    char *node;     /* where to; NULL = the only node of the cluster */
    char *data_dir; /* absolute; NULL: understood, and refused at apply */
    char *wal_dir;  /* NULL = inside data_dir */
    struct restore_target target;
    struct schema_map tablespace_map;
    struct schema_map server_options;
    bool start;
    bool delta;
    bool dry_run;             /* only a plan, into the status: nothing is written */
    int64_t port;             /* 0 = as backed up */
    int64_t start_timeout_us; /* default 10 min */
    char *pitr_restored_ts;
    struct schema_list table_filter; /* refused at apply */
};

struct schedule_spec {
    char *schedule;
    char *time_zone; /* NULL = UTC */
    struct cron cron;
    bool pause;
    int64_t max_backups;          /* 0 = no limit */
    int64_t max_reserved_time_us; /* 0 = no limit */
    int64_t compact_interval_us;
    struct br_spec br; /* for templates that have none of their own */
    struct storage_spec storage;
    struct backup_spec backup_template;
    struct backup_spec *log_backup_template;      /* NULL = none */
    struct compact_spec *compact_backup_template; /* NULL = none */
};

struct compact_spec {
    struct br_spec br;
    struct storage_spec storage;
    char *start_ts;
    char *end_ts;
    int64_t concurrency; /* default 4 */
    int64_t max_retry_times;
};

struct resource {
    enum resource_kind kind;
    char *api_version;
    char *name;
    char *namespace_; /* "default" when not given */
    struct schema_map labels;
    struct tm_err refusal; /* code not OK: this version does not carry it out, and why */
    char *document;        /* canonical form, NUL-terminated */
    size_t document_len;
    union {
        struct backup_spec backup;
        struct restore_spec restore;
        struct schedule_spec schedule;
        struct compact_spec compact;
    };
};

void resource_free(struct resource *r);
TM_DEFINE_FREEP(struct resource, resource_free)

struct resource_list {
    struct resource **items; /* entries may be taken out: NULL is skipped by release */
    size_t count;
    struct schema_warnings warnings; /* "FILE:line:column: …" */
};
#define RESOURCE_LIST_INIT ((struct resource_list){.count = 0})

/* All documents of the input, or an error and nothing; a document may be a list ({items: […]}, as
 * get prints). Input without any resource is an error. */
int resource_parse(const char *source, struct slice yaml, struct resource_list *ret_list,
                   struct tm_err *err) TM_WUR;
void resource_list_release(struct resource_list *list);

/* Exactly one resource: a stored `document` read again. Warnings are dropped. */
int resource_parse_document(const char *source, struct slice document, struct resource **ret,
                            struct tm_err *err) TM_WUR;

/* A resource with the pattern's words but this name, cluster and tenant. */
int resource_rename(const struct resource *pattern, const char *name, const char *cluster,
                    const char *tenant, struct resource **ret, struct tm_err *err) TM_WUR;

/* Whether this version carries such a resource out: TM_E_UNSUPPORTED or TM_E_INVALID with the
 * reason and what to do instead, "backup.yaml:12: backup/x: …". */
int resource_check_apply(const struct resource *r, struct tm_err *err) TM_WUR;

/* The same name, labels and spec: applying `b` over `a` changes nothing. */
bool resource_equal(const struct resource *a, const struct resource *b);

/* What a text in a spec means: a time, given as RFC 3339, as TiDB writes it ("2018-05-11 01:42:23",
 * UTC, or with +0800) or as a TSO (its time is taken); or, when it has a '/', an engine position. */
#define MOMENT_TEXT_MAX 64
struct moment {
    bool is_position;
    int64_t time_us;
    char position[MOMENT_TEXT_MAX];
};
int moment_parse(const char *text, struct moment *ret, struct tm_err *err) TM_WUR;
/* One form for each moment: RFC 3339 UTC, or the position. Returns `text` of MOMENT_TEXT_MAX. */
char *moment_text(const struct moment *moment, char *text);

/* "immediate", "latest", "time:2026-…Z", "position:0/3000148", "xid:742", "name:x": how agents are
 * told (proto/repo/target.h). Returns `text`, which has `size` bytes; RESTORE_TARGET_MAX is enough
 * for every spec that was accepted. */
#define RESTORE_TARGET_MAX 192
char *restore_target_text(const struct restore_spec *restore, char *text, size_t size);

#endif
