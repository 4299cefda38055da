#ifndef TM_PROTO_SPEC_SPEC_H
#define TM_PROTO_SPEC_SPEC_H
/*
 * Resources: what an operator writes in YAML, checked, with the defaults filled in.
 *
 * The fields are those of the TiDB Operator's specs (pingcap.com/v1alpha1, br.pingcap.com/v1alpha1)
 * and our own (tidemark/v1); all three are read alike, so that an existing file is accepted as it
 * stands. A field that means nothing outside Kubernetes is accepted with a warning that says so; an
 * unknown one is an error with line, column and a suggestion.
 *
 *     resource_parse(document node) → struct resource, handed over; resource_free
 *
 * A resource that parses is well-formed. Whether this version carries it out is another question,
 * asked by apply: resource_check_supported says truthfully what it does not.
 * Not thread safe; no globals.
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/schema.h"
#include "common/yaml.h"

#define SPEC_NAME_MAX        63 /* DNS label, as in Kubernetes */
#define SPEC_NAMESPACE_DEF   "default"
#define SPEC_TENANT_DEF      "main"
#define SPEC_URL_MAX         1023
#define SPEC_LABELS_MAX      64
#define SPEC_TABLESPACES_MAX 32

enum resource_kind {
    RESOURCE_BACKUP = 1,
    RESOURCE_RESTORE,
    RESOURCE_BACKUP_SCHEDULE,
    RESOURCE_COMPACT_BACKUP,
};

enum backup_mode { BACKUP_MODE_SNAPSHOT = 1, BACKUP_MODE_LOG };
enum clean_policy { CLEAN_POLICY_RETAIN = 1, CLEAN_POLICY_ON_FAILURE, CLEAN_POLICY_DELETE };

/* Where objects lie. Exactly one of the blocks s3, azblob, oss, cos, gcs, local, nfs was given. */
struct storage_spec {
    char provider[16]; /* "local", "nfs", "s3", … */
    char url[SPEC_URL_MAX + 1];
    char *secret_name; /* NULL = none */
};

struct backup_spec {
    enum backup_mode mode;
    char cluster[SPEC_NAME_MAX + 1];
    char tenant[SPEC_NAME_MAX + 1]; /* "" = not named: the cluster's only one */
    struct storage_spec storage;
    enum clean_policy clean_policy;
    char compression[32];      /* "zstd:3" | "none" */
    uint32_t concurrency;      /* threads on a node; 0 = the agent's default */
    uint64_t rate_limit_bytes; /* per second and node; 0 = none */
    bool checksum;             /* re-read and verify everything before Complete */
    bool fast_start;           /* immediate checkpoint */
    int64_t gc_ttl_us;         /* log hold's life without its owner */
};

struct restore_spec {
    char backup[SPEC_NAME_MAX + 1];  /* resource name or backup id; "" = newest in storage */
    char cluster[SPEC_NAME_MAX + 1]; /* the one that was backed up, and whose agent restores */
    char tenant[SPEC_NAME_MAX + 1];  /* "" = SPEC_TENANT_DEF */
    char node[SPEC_NAME_MAX + 1];    /* "" = the cluster's only node */
    struct storage_spec storage;     /* url "" = that of `backup` */
    char *data_dir;
    char *wal_dir; /* NULL = inside data_dir */
    struct schema_map tablespace_map;
    struct schema_map server_options;
    uint32_t concurrency;
    uint64_t rate_limit_bytes;
    uint32_t port; /* 0 = leave */
    int64_t start_timeout_us;
    bool start;
    bool delta;
};

struct resource {
    enum resource_kind kind;
    char api_version[64];
    char name[SPEC_NAME_MAX + 1];
    char namespace_[SPEC_NAME_MAX + 1];
    struct schema_map labels;
    struct backup_spec backup;   /* kind BACKUP */
    struct restore_spec restore; /* kind RESTORE */
    char unsupported[256];       /* not "": why this version refuses to carry it out */
};

/* One YAML document. Warnings are appended, "file:line:column: …". */
int resource_parse(const struct yaml_node *document, struct resource **ret,
                   struct schema_warnings *warnings, struct tm_err *err) TM_WUR;
/* Bytes of exactly one document. */
int resource_parse_bytes(const char *source, struct slice text, struct resource **ret,
                         struct schema_warnings *warnings, struct tm_err *err) TM_WUR;
void resource_free(struct resource *r);
TM_DEFINE_FREEP(struct resource, resource_free)

/* TM_E_UNSUPPORTED with a truthful sentence for what this version does not carry out. */
int resource_check_supported(const struct resource *r, struct tm_err *err) TM_WUR;

/* "Backup"; and what a person may type for it: "backup", "bk", … NULL-safe: 0 when unknown. */
const char *resource_kind_text(enum resource_kind kind);
enum resource_kind resource_kind_find(const char *text);
/* "backup": lower case, as the CLI prints it in backup/NAME. */
const char *resource_kind_short(enum resource_kind kind);
/* Whether `text` can be the name of a resource, cluster, tenant or node. */
bool spec_name_valid(const char *text);
/* Compression as written ("zstd", "zstd:5", "none", "lz4" refused) → canonical "zstd:3" | "none".
 */
int spec_compression(const char *text, char ret[32], struct tm_err *err) TM_WUR;

#endif
