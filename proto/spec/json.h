#ifndef TM_PROTO_SPEC_JSON_H
#define TM_PROTO_SPEC_JSON_H
/*
 * Resources as JSON: {apiVersion, kind, metadata{name, namespace, labels, uid, generation,
 * creationTimestamp}, spec, status}. Names and fields of `status` are a contract with scripts.
 * `spec` is what was written, not what was made of it. Objects are handed over (json_decref).
 */
#include <jansson.h>

#include "proto/spec/spec.h"
#include "proto/spec/status.h"

struct resource_view {
    const struct resource *resource;
    const struct resource_status *status; /* NULL: left out */
    struct slice yaml;                    /* the document as applied */
    const char *uid;                      /* NULL: left out */
    int64_t created_us;
    uint64_t generation;
    bool deleting;
};

int resource_to_json(const struct resource_view *view, json_t **ret, struct tm_err *err) TM_WUR;
/* The status block alone. */
int resource_status_to_json(const struct resource_status *status, json_t **ret,
                            struct tm_err *err) TM_WUR;
/* A YAML tree as JSON: plain scalars become numbers, booleans or null by YAML's core rules. */
int yaml_to_json(const struct yaml_node *node, json_t **ret, struct tm_err *err) TM_WUR;
/* JSON as block YAML that parses back to the same; for `-o yaml` and edit. */
int json_to_yaml(const json_t *value, struct buf *ret, struct tm_err *err) TM_WUR;

#endif
