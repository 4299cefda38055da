#ifndef TM_COORDINATOR_DAEMON_CONFIG_H
#define TM_COORDINATOR_DAEMON_CONFIG_H
/*
 * coordinator.yaml.
 *
 *     listen: tcp://127.0.0.1:7711       or tls+tcp://host:port; plain tcp off loopback needs insecure
 *     insecure: false
 *     tls: {ca: FILE, cert: FILE}        PEM; cert holds certificate and key; agents must show a
 *                                        certificate signed by the ca
 *     keys_dir: /etc/tidemark/keys       <cluster>/<node>.key, mode 0600, one a node
 *     control_socket: /run/tidemark/control.sock
 *     state_dir: /var/lib/tidemark/coordinator
 *     max_agents: 256                    at most BRAIN_NODES_MAX
 *     log_level: info
 *
 * Every error is "file:line:column: what"; unknown fields come with a suggestion.
 */
#include <stdint.h>

#include "common/err.h"
#include "common/schema.h"

#define CONFIG_FILE_MAX ((size_t)1 << 20)

struct config_tls {
    char *ca;
    char *cert;
};

struct config {
    char *listen;
    bool insecure;
    struct config_tls *tls; /* NULL = none */
    char *keys_dir;         /* NULL = none */
    char *control_socket;
    char *state_dir;
    char *http; /* NULL = none */
    int64_t max_agents;
    char *log_level;
    int log_priority; /* from log_level */
    bool rebuild;     /* by the command line: the state must be empty */
};

int config_load(const char *path, struct config *ret, struct schema_warnings *warnings,
                struct tm_err *err) TM_WUR;
/* The same from bytes; `source` names them in messages. */
int config_parse(const char *source, struct slice text, struct config *ret,
                 struct schema_warnings *warnings, struct tm_err *err) TM_WUR;
/* Harmless on a zeroed config. */
void config_release(struct config *c);

#endif
