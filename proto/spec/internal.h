#ifndef TM_PROTO_SPEC_INTERNAL_H
#define TM_PROTO_SPEC_INTERNAL_H
/* Between the files of proto/spec. Nobody else includes this. */
#include <jansson.h>

#include "common/yaml.h"
#include "proto/spec/spec.h"

/* why a field is accepted and does nothing */
#define SPEC_POD     "configures a pod; there are none here, it is ignored"
#define SPEC_TIDB    "is about TiDB's own components and is ignored"
#define SPEC_NOWHERE "has no meaning outside Kubernetes and is ignored"

#define SPEC_NO_HOLD "has no effect: a restore holds no log; ignored"

/* Fields of every TiDB Operator spec that configure its pods. */
#define SPEC_POD_FIELDS                                                                            \
    SCHEMA_SKIP("env", SPEC_POD), SCHEMA_SKIP("resources", SPEC_POD),                              \
        SCHEMA_SKIP("tolerations", SPEC_POD), SCHEMA_SKIP("affinity", SPEC_POD),                   \
        SCHEMA_SKIP("serviceAccount", SPEC_POD), SCHEMA_SKIP("toolImage", SPEC_POD),               \
        SCHEMA_SKIP("imagePullSecrets", SPEC_POD), SCHEMA_SKIP("podSecurityContext", SPEC_POD),    \
        SCHEMA_SKIP("priorityClassName", SPEC_POD), SCHEMA_SKIP("additionalVolumes", SPEC_POD),    \
        SCHEMA_SKIP("additionalVolumeMounts", SPEC_POD),                                           \
        SCHEMA_SKIP("storageClassName", SPEC_POD), SCHEMA_SKIP("storageSize", SPEC_POD),           \
        SCHEMA_SKIP("requests", SPEC_POD), SCHEMA_SKIP("limits", SPEC_POD),                        \
        SCHEMA_SKIP("useKMS", SPEC_NOWHERE), SCHEMA_SKIP("tikvGCLifeTime", SPEC_TIDB)

/* The storage blocks, side by side with a spec's other fields; all fill one struct storage_spec.
 * Two of them at once are an error. */
#define SPEC_STORAGE_FIELD(type_, member_, name_)                                                  \
    {                                                                                              \
        .name = (name_), .type = SCHEMA_CUSTOM, .offset = offsetof(type_, member_),                \
        .parse = spec_storage_block, .clear = spec_storage_clear                                   \
    }
#define SPEC_STORAGE_FIELDS(type_, member_)                                                        \
    SPEC_STORAGE_FIELD(type_, member_, "local"), SPEC_STORAGE_FIELD(type_, member_, "nfs"),        \
        SPEC_STORAGE_FIELD(type_, member_, "s3"), SPEC_STORAGE_FIELD(type_, member_, "azblob"),    \
        SPEC_STORAGE_FIELD(type_, member_, "oss"), SPEC_STORAGE_FIELD(type_, member_, "cos"),      \
        SPEC_STORAGE_FIELD(type_, member_, "gcs")

int spec_storage_block(const struct schema_field *field, const struct yaml_node *node, void *member,
                       struct schema_warnings *warnings, struct tm_err *err);
void spec_storage_clear(void *member);
/* A map that holds nothing but one storage block. */
extern const struct schema spec_storage_only_schema;

extern const struct schema spec_br_schema;
extern const struct schema spec_backup_schema;
extern const struct schema spec_restore_schema;
extern const struct schema spec_schedule_schema;
extern const struct schema spec_compact_schema;

/* Element of a list of strings. */
extern const struct schema_field spec_text_item;

/* What br.options may change beside the br block itself. */
struct spec_br_reach {
    char **compression;             /* may be NULL */
    struct storage_spec *stores[2]; /* either may be NULL */
    bool holds;                     /* log is held beyond a backup: gcttl means something */
};
/* br.options: takes over the flags that are known, warns of the others. */
int spec_br_options(struct br_spec *br, const struct spec_br_reach *reach,
                    const struct yaml_node *options, struct schema_warnings *warnings,
                    struct tm_err *err) TM_WUR;
/* A parameter of a storage flag ("endpoint" of --s3.endpoint; family "s3" or "azblob") takes the
 * place of what the block said. False: the store is of another family, nothing was done. */
int spec_storage_flag(struct storage_spec *storage, const char *family, const char *key,
                      const char *value, bool *ret_taken, struct tm_err *err) TM_WUR;
/* What its parameters need of each other, once blocks and flags were taken. */
int spec_storage_check(const struct storage_spec *storage, const struct yaml_node *node,
                       struct tm_err *err) TM_WUR;

/* After the tables: names, defaults that depend on each other, and what is not carried out, which
 * goes into *refusal (the first one stays). `spec` is the node of the spec. */
int spec_backup_finish(struct backup_spec *b, const struct yaml_node *spec,
                       struct schema_warnings *warnings, struct tm_err *refusal,
                       struct tm_err *err) TM_WUR;
int spec_restore_finish(struct restore_spec *r, const struct yaml_node *spec,
                        struct schema_warnings *warnings, struct tm_err *refusal,
                        struct tm_err *err) TM_WUR;
int spec_schedule_finish(struct schedule_spec *s, const struct yaml_node *spec,
                         struct schema_warnings *warnings, struct tm_err *refusal,
                         struct tm_err *err) TM_WUR;
int spec_compact_finish(struct compact_spec *c, const struct yaml_node *spec,
                        struct schema_warnings *warnings, struct tm_err *refusal,
                        struct tm_err *err) TM_WUR;

/* Notes why this version does not do it, at the node; the first note stays. */
void spec_refuse(struct tm_err *refusal, enum tm_err_code code, const struct yaml_node *node,
                 const char *fmt, ...) TM_PRINTF(4, 5);
/* log.c: what a log backup and a snapshot do not share. */
void spec_log_warn(const struct backup_spec *b, const struct yaml_node *spec,
                   struct schema_warnings *warnings);
void spec_log_refuse(const struct backup_spec *b, const struct yaml_node *spec,
                     struct tm_err *refusal);
/* The node of `path`, or the nearest one above it that was written. */
const struct yaml_node *spec_node_at(const struct yaml_node *spec, const char *path);
/* The name rule, at the node of `path` below `spec`. NULL text is fine. */
int spec_check_name(const struct yaml_node *spec, const char *path, const char *text,
                    struct tm_err *err) TM_WUR;
/* Absolute, no "." or ".." component, no control character. */
int spec_check_path(const struct yaml_node *spec, const char *path, const char *text,
                    struct tm_err *err) TM_WUR;
/* A moment (spec.h); a position only when `position_too`. */
int spec_check_moment(const struct yaml_node *spec, const char *path, const char *text,
                      bool position_too, struct tm_err *err) TM_WUR;

/* document.c: the canonical form, checked to read back as the same. */
int spec_document(const struct resource *r, const struct yaml_node *spec, char **ret,
                  size_t *ret_len, struct tm_err *err) TM_WUR;

#endif
