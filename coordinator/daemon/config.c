/*
 * coordinator.yaml → struct config: a table, and what a table cannot say.
 */
#include "coordinator/daemon/config.h"

#include <string.h>

#include "common/endpoint.h"
#include "common/fs.h"
#include "common/log.h"
#include "coordinator/brain/brain.h"
#include "coordinator/rpc/server.h"

#define CONTROL_SOCKET_MAX 107 /* what fits into a struct sockaddr_un */

static const struct schema_field tls_fields[] = {
    SCHEMA_FIELD(struct config_tls, ca, "ca", SCHEMA_STRING,
                 .flags = SCHEMA_REQUIRED | SCHEMA_NON_EMPTY),
    SCHEMA_FIELD(struct config_tls, cert, "cert", SCHEMA_STRING,
                 .flags = SCHEMA_REQUIRED | SCHEMA_NON_EMPTY),
};
static const struct schema tls_schema = SCHEMA("tls", struct config_tls, tls_fields);

static const struct schema_field config_fields[] = {
    SCHEMA_FIELD(struct config, listen, "listen", SCHEMA_STRING, .flags = SCHEMA_NON_EMPTY,
                 .def = "tcp://127.0.0.1:7711", .max = ENDPOINT_URL_MAX),
    SCHEMA_FIELD(struct config, insecure, "insecure", SCHEMA_BOOL, .def = "false"),
    SCHEMA_FIELD(struct config, tls, "tls", SCHEMA_POINTER, .sub = &tls_schema),
    SCHEMA_FIELD(struct config, keys_dir, "keys_dir", SCHEMA_STRING, .flags = SCHEMA_NON_EMPTY),
    SCHEMA_FIELD(struct config, control_socket, "control_socket", SCHEMA_STRING,
                 .flags = SCHEMA_NON_EMPTY, .def = "/run/tidemark/control.sock",
                 .max = CONTROL_SOCKET_MAX),
    SCHEMA_FIELD(struct config, state_dir, "state_dir", SCHEMA_STRING, .flags = SCHEMA_NON_EMPTY,
                 .def = "/var/lib/tidemark/coordinator"),
    SCHEMA_FIELD(struct config, http, "http", SCHEMA_STRING,
                 .flags = SCHEMA_NON_EMPTY | SCHEMA_WARN,
                 .warning = "is not served by this version"),
    SCHEMA_FIELD(struct config, max_agents, "max_agents", SCHEMA_INT, .def = "256", .min = 1,
                 .max = BRAIN_NODES_MAX),
    SCHEMA_FIELD(struct config, log_level, "log_level", SCHEMA_STRING, .def = "info"),
};

static int absolute(const struct yaml_node *node, const char *field, const char *path,
                    struct tm_err *err)
{
    const struct yaml_node *at = yaml_get(node, field);

    if (!path || path[0] == '/')
        return 0;
    return yaml_error(at ? at : node, err, "%s '%s' is not an absolute path", field, path);
}

static int check(const void *object, const struct yaml_node *node, struct schema_warnings *warnings,
                 struct tm_err *err)
{
    const struct config *c = object;
    const struct yaml_node *listen = yaml_get(node, "listen");
    struct rpc_server_config server = {.url = c->listen,
                                       .insecure = c->insecure,
                                       .ca_file = c->tls ? c->tls->ca : NULL,
                                       .cert_key_file = c->tls ? c->tls->cert : NULL};
    struct tm_err why = {0};
    int r, priority;

    if (rpc_server_check(&server, &why) < 0)
        return yaml_error(listen ? listen : node, err, "listen: %s", why.msg);
    if (c->insecure)
        schema_warn(warnings, yaml_get(node, "insecure"),
                    "agents may connect without TLS; whoever reads the network can read and forge "
                    "what they say");
    if ((r = absolute(node, "keys_dir", c->keys_dir, err)) < 0 ||
        (r = absolute(node, "control_socket", c->control_socket, err)) < 0 ||
        (r = absolute(node, "state_dir", c->state_dir, err)) < 0)
        return r;
    if (c->tls && ((r = absolute(yaml_get(node, "tls"), "ca", c->tls->ca, err)) < 0 ||
                   (r = absolute(yaml_get(node, "tls"), "cert", c->tls->cert, err)) < 0))
        return r;
    if (log_priority_parse(c->log_level, &priority, &why) < 0)
        return yaml_error(yaml_get(node, "log_level"), err, "log_level: %s", why.msg);
    return 0;
}

static const struct schema config_schema =
    SCHEMA_CHECKED("the coordinator's configuration", struct config, config_fields, check);

int config_parse(const char *source, struct slice text, struct config *ret,
                 struct schema_warnings *warnings, struct tm_err *err)
{
    struct config c;
    int r = schema_parse(&config_schema, source, text, &c, warnings, err);

    if (r < 0)
        return r;
    if ((r = log_priority_parse(c.log_level, &c.log_priority, err)) < 0) {
        config_release(&c);
        return r;
    }
    *ret = c;
    return 0;
}

int config_load(const char *path, struct config *ret, struct schema_warnings *warnings,
                struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    int r = fs_read_file(path, CONFIG_FILE_MAX, &text, err);

    return r < 0 ? r : config_parse(path, buf_slice(&text), ret, warnings, err);
}

void config_release(struct config *c)
{
    schema_release(&config_schema, c);
}
