/*
 * agent.yaml → struct agent_config: tables, and what a table cannot say.
 */
#include "agent/daemon/config.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/engine/engine.h"
#include "common/endpoint.h"
#include "common/fs.h"
#include "common/log.h"
#include "proto/wire/hello.h"
#include "proto/wire/messages.h"

static const struct schema_field tls_fields[] = {
    SCHEMA_FIELD(struct agent_config_tls, ca, "ca", SCHEMA_STRING,
                 .flags = SCHEMA_REQUIRED | SCHEMA_NON_EMPTY),
    SCHEMA_FIELD(struct agent_config_tls, cert, "cert", SCHEMA_STRING,
                 .flags = SCHEMA_REQUIRED | SCHEMA_NON_EMPTY),
    SCHEMA_FIELD(struct agent_config_tls, server_name, "server_name", SCHEMA_STRING,
                 .flags = SCHEMA_NON_EMPTY, .max = ENDPOINT_HOST_MAX),
};
static const struct schema tls_schema = SCHEMA("tls", struct agent_config_tls, tls_fields);

static const struct schema_field instance_fields[] = {
    SCHEMA_FIELD(struct agent_config_instance, tenant, "tenant", SCHEMA_STRING,
                 .flags = SCHEMA_NON_EMPTY, .def = "main", .max = WIRE_NAME_MAX),
    SCHEMA_FIELD(struct agent_config_instance, engine, "engine", SCHEMA_STRING,
                 .flags = SCHEMA_REQUIRED | SCHEMA_NON_EMPTY, .max = ENGINE_NAME_MAX - 1),
    SCHEMA_FIELD(struct agent_config_instance, data_dir, "data_dir", SCHEMA_STRING,
                 .flags = SCHEMA_REQUIRED | SCHEMA_NON_EMPTY, .max = WIRE_PATH_MAX),
    SCHEMA_FIELD(struct agent_config_instance, conninfo, "conninfo", SCHEMA_STRING, .def = "",
                 .max = WIRE_URL_MAX),
};
static const struct schema instance_schema =
    SCHEMA("an instance", struct agent_config_instance, instance_fields);

static const struct schema_field coordinator_item = {
    .type = SCHEMA_STRING, .flags = SCHEMA_NON_EMPTY, .max = ENDPOINT_URL_MAX};
static const struct schema_field instance_item = {.type = SCHEMA_STRUCT, .sub = &instance_schema};
static const struct schema_field root_item = {
    .type = SCHEMA_STRING, .flags = SCHEMA_NON_EMPTY, .max = WIRE_PATH_MAX};

static const struct schema_field config_fields[] = {
    SCHEMA_FIELD(struct agent_config, coordinators, "coordinators", SCHEMA_LIST,
                 .flags = SCHEMA_REQUIRED | SCHEMA_NON_EMPTY, .max = AGENT_COORDINATORS_MAX,
                 .item = &coordinator_item, .item_size = sizeof(char *)),
    SCHEMA_FIELD(struct agent_config, insecure, "insecure", SCHEMA_BOOL, .def = "false"),
    SCHEMA_FIELD(struct agent_config, tls, "tls", SCHEMA_POINTER, .sub = &tls_schema),
    SCHEMA_FIELD(struct agent_config, cluster, "cluster", SCHEMA_STRING,
                 .flags = SCHEMA_REQUIRED | SCHEMA_NON_EMPTY, .max = WIRE_NAME_MAX),
    SCHEMA_FIELD(struct agent_config, node, "node", SCHEMA_STRING, .flags = SCHEMA_NON_EMPTY,
                 .max = WIRE_NAME_MAX),
    SCHEMA_FIELD(struct agent_config, key_file, "key_file", SCHEMA_STRING,
                 .flags = SCHEMA_NON_EMPTY),
    SCHEMA_FIELD(struct agent_config, state_dir, "state_dir", SCHEMA_STRING,
                 .flags = SCHEMA_NON_EMPTY, .def = "/var/lib/tidemark/agent"),
    SCHEMA_FIELD(struct agent_config, instances, "instances", SCHEMA_LIST,
                 .max = WIRE_INSTANCES_MAX, .item = &instance_item,
                 .item_size = sizeof(struct agent_config_instance)),
    SCHEMA_FIELD(struct agent_config, restore_roots, "restore_roots", SCHEMA_LIST,
                 .max = AGENT_RESTORE_ROOTS_MAX, .item = &root_item, .item_size = sizeof(char *)),
    SCHEMA_FIELD(struct agent_config, rate_limit_bytes_s, "rate_limit", SCHEMA_SIZE),
    SCHEMA_FIELD(struct agent_config, log_level, "log_level", SCHEMA_STRING, .def = "info"),
};

static const struct yaml_node *child_at(const struct yaml_node *list, size_t index)
{
    const struct yaml_node *child = list ? list->first : NULL;

    while (child && index-- > 0)
        child = child->next;
    return child;
}

static int absolute(const struct yaml_node *at, const char *field, const char *path,
                    struct tm_err *err)
{
    if (!path || path[0] == '/')
        return 0;
    return yaml_error(at, err, "%s '%s' is not an absolute path", field, path);
}

static int check_coordinators(const struct agent_config *c, const struct yaml_node *node,
                              struct tm_err *err)
{
    char *const *urls = c->coordinators.items;

    for (size_t i = 0; i < c->coordinators.count; i++) {
        const struct yaml_node *at = child_at(yaml_get(node, "coordinators"), i);
        struct tm_err why = {0};
        struct endpoint e;

        if (endpoint_parse(urls[i], &e, &why) < 0)
            return yaml_error(at, err, "coordinators: %s", why.msg);
        if (e.tls && !c->tls)
            return yaml_error(at, err, "coordinators: '%s' needs tls.ca and tls.cert", urls[i]);
        if (!e.tls && !e.loopback && !c->insecure)
            return yaml_error(at, err,
                              "coordinators: plain '%s' is not loopback: use tls+tcp://, or say "
                              "insecure: true",
                              urls[i]);
        if (!e.loopback && !c->key_file)
            return yaml_error(at, err,
                              "coordinators: '%s' is not loopback, so this node needs a key_file",
                              urls[i]);
    }
    return 0;
}

static int check_instances(const struct agent_config *c, const struct yaml_node *node,
                           struct tm_err *err)
{
    const struct agent_config_instance *items = c->instances.items;
    int r;

    for (size_t i = 0; i < c->instances.count; i++) {
        const struct yaml_node *at = child_at(yaml_get(node, "instances"), i);

        if (!hello_name_valid(items[i].tenant))
            return yaml_error(yaml_get(at, "tenant"), err,
                              "tenant '%s' is no name: use letters, digits, '-', '_' and '.'",
                              items[i].tenant);
        if (!engine_find(items[i].engine))
            return yaml_error(yaml_get(at, "engine"), err, "there is no engine '%s', only postgres",
                              items[i].engine);
        if ((r = absolute(yaml_get(at, "data_dir"), "data_dir", items[i].data_dir, err)) < 0)
            return r;
        for (size_t k = 0; k < i; k++)
            if (strcmp(items[k].tenant, items[i].tenant) == 0)
                return yaml_error(
                    at, err, "tenant '%s' has an instance already; give each its own tenant name",
                    items[i].tenant);
    }
    return 0;
}

static int check_paths(const struct agent_config *c, const struct yaml_node *node,
                       struct tm_err *err)
{
    const struct yaml_node *tls = yaml_get(node, "tls");
    char *const *roots = c->restore_roots.items;
    int r;

    if ((r = absolute(yaml_get(node, "key_file"), "key_file", c->key_file, err)) < 0 ||
        (r = absolute(yaml_get(node, "state_dir"), "state_dir", c->state_dir, err)) < 0)
        return r;
    if (c->tls && ((r = absolute(yaml_get(tls, "ca"), "ca", c->tls->ca, err)) < 0 ||
                   (r = absolute(yaml_get(tls, "cert"), "cert", c->tls->cert, err)) < 0))
        return r;
    for (size_t i = 0; i < c->restore_roots.count; i++) {
        const struct yaml_node *at = child_at(yaml_get(node, "restore_roots"), i);
        if ((r = absolute(at, "restore_roots:", roots[i], err)) < 0)
            return r;
        if (strcmp(roots[i], "/") == 0)
            return yaml_error(at, err, "restore_roots: '/' would allow a restore to go anywhere");
    }
    return 0;
}

/* A number without its unit would make a backup that never ends. */
static int check_rate_limit(const struct agent_config *c, const struct yaml_node *node,
                            struct tm_err *err)
{
    if (c->rate_limit_bytes_s == 0 || c->rate_limit_bytes_s >= AGENT_RATE_LIMIT_MIN)
        return 0;
    return yaml_error(yaml_get(node, "rate_limit"), err,
                      "rate_limit: %llu bytes a second are less than 64KiB: write a unit, as in "
                      "50MB, or 0 for no limit",
                      (unsigned long long)c->rate_limit_bytes_s);
}

static int check(const void *object, const struct yaml_node *node, struct schema_warnings *warnings,
                 struct tm_err *err)
{
    const struct agent_config *c = object;
    struct tm_err why = {0};
    int r, priority;

    if (!hello_name_valid(c->cluster))
        return yaml_error(yaml_get(node, "cluster"), err,
                          "cluster '%s' is no name: use letters, digits, '-', '_' and '.'",
                          c->cluster);
    if (c->node && !hello_name_valid(c->node))
        return yaml_error(yaml_get(node, "node"), err,
                          "node '%s' is no name: use letters, digits, '-', '_' and '.'", c->node);
    if (c->insecure)
        schema_warn(
            warnings, yaml_get(node, "insecure"),
            "the coordinator may be reached without TLS; whoever reads the network can read "
            "and forge what is said");
    if ((r = check_coordinators(c, node, err)) < 0 || (r = check_instances(c, node, err)) < 0 ||
        (r = check_paths(c, node, err)) < 0 || (r = check_rate_limit(c, node, err)) < 0)
        return r;
    if (log_priority_parse(c->log_level, &priority, &why) < 0)
        return yaml_error(yaml_get(node, "log_level"), err, "log_level: %s", why.msg);
    return 0;
}

static const struct schema config_schema =
    SCHEMA_CHECKED("the agent's configuration", struct agent_config, config_fields, check);

/* The short host name, when `node` is not given. */
static int default_node(struct agent_config *c, const char *source, struct tm_err *err)
{
    char host[256] = "";

    if (c->node)
        return 0;
    if (gethostname(host, sizeof host - 1) < 0)
        return tm_err_errno(err, errno, "cannot read the host's name");
    host[strcspn(host, ".")] = '\0';
    if (!hello_name_valid(host))
        return tm_err_set(err, TM_E_INVALID,
                          "%s: the host's name '%s' cannot name a node; set node", source, host);
    c->node = strdup(host);
    return c->node ? 0 : tm_err_oom(err);
}

int agent_config_parse(const char *source, struct slice text, struct agent_config *ret,
                       struct schema_warnings *warnings, struct tm_err *err)
{
    struct agent_config c;
    int r = schema_parse(&config_schema, source, text, &c, warnings, err);

    if (r < 0)
        return r;
    if ((r = log_priority_parse(c.log_level, &c.log_priority, err)) < 0 ||
        (r = default_node(&c, source, err)) < 0) {
        agent_config_release(&c);
        return r;
    }
    *ret = c;
    return 0;
}

int agent_config_load(const char *path, struct agent_config *ret, struct schema_warnings *warnings,
                      struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    int r = fs_read_file(path, AGENT_CONFIG_FILE_MAX, &text, err);

    return r < 0 ? r : agent_config_parse(path, buf_slice(&text), ret, warnings, err);
}

void agent_config_release(struct agent_config *c)
{
    schema_release(&config_schema, c);
}
