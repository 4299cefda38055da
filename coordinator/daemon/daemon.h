#ifndef TM_COORDINATOR_DAEMON_DAEMON_H
#define TM_COORDINATOR_DAEMON_DAEMON_H
/*
 * The coordinator as a process: one loop that feeds coordinator/brain with what agents (rpc/gate),
 * people (control) and the state store say, and carries out what it answers.
 *
 *     coordinator_daemon_run(&config, path, err)   returns after SIGTERM, or with what went wrong
 *
 * Start: lock on state_dir → state opened → term taken, durable → stored records into the brain →
 * listen for agents and on the control socket → READY=1. SIGTERM: no more requests, what was
 * promised is committed, end. SIGHUP reads the configuration again and applies log_level; what else
 * changed needs a restart, and that is said.
 */
#include "common/err.h"
#include "coordinator/daemon/config.h"

/* What can be known before starting. */
int coordinator_daemon_check(const struct config *config, struct tm_err *err) TM_WUR;
/* Takes over *config. */
int coordinator_daemon_run(struct config *config, const char *config_path,
                           struct tm_err *err) TM_WUR;

#endif
