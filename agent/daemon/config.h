#ifndef TM_AGENT_DAEMON_CONFIG_H
#define TM_AGENT_DAEMON_CONFIG_H
/*
 * agent.yaml.
 *
 *     coordinators: [tcp://127.0.0.1:7711]   or tls+tcp://host:port; plain tcp off loopback needs
 *                                            insecure
 *     insecure: false
 *     tls: {ca: FILE, cert: FILE}            PEM; cert holds certificate and key of this node
 *     cluster: demo1
 *     node: db-a                             default: the host's name
 *     key_file: /etc/tidemark/node.key       optional on loopback
 *     state_dir: /var/lib/tidemark/agent
 *     instances:
 *       - tenant: main
 *         engine: postgres
 *         data_dir: /var/lib/postgresql/15/main
 *         conninfo: "host=/var/run/postgresql user=postgres dbname=postgres"
 *     restore_roots: [/srv/restore]
 *     rate_limit: 50MB                       bytes a second that a backup may read here; default: none
 *     log_level: info
 *
 * Every error is "file:line:column: what"; unknown fields come with a suggestion.
 */
#include <stdint.h>

#include "common/err.h"
#include "common/schema.h"

#define AGENT_CONFIG_FILE_MAX   ((size_t)1 << 20)
#define AGENT_COORDINATORS_MAX  16
#define AGENT_RESTORE_ROOTS_MAX 64
#define AGENT_RATE_LIMIT_MIN    (UINT64_C(64) << 10)

struct agent_config_tls {
    char *ca;
    char *cert;
    char *server_name; /* NULL = the host in the coordinator's URL */
};

struct agent_config_instance {
    char *tenant;
    char *engine;
    char *data_dir;
    char *conninfo;
};

struct agent_config {
    struct schema_list coordinators; /* of char * */
    bool insecure;
    struct agent_config_tls *tls; /* NULL = none */
    char *cluster;
    char *node;
    char *key_file; /* NULL = none */
    char *state_dir;
    struct schema_list instances;     /* of struct agent_config_instance */
    struct schema_list restore_roots; /* of char * */
    uint64_t rate_limit_bytes_s;      /* 0 = none, else at least AGENT_RATE_LIMIT_MIN */
    char *log_level;
    int log_priority;
};

int agent_config_load(const char *path, struct agent_config *ret, struct schema_warnings *warnings,
                      struct tm_err *err) TM_WUR;
int agent_config_parse(const char *source, struct slice text, struct agent_config *ret,
                       struct schema_warnings *warnings, struct tm_err *err) TM_WUR;
/* Harmless on a zeroed config. */
void agent_config_release(struct agent_config *c);

#endif
