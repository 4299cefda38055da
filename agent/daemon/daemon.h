#ifndef TM_AGENT_DAEMON_DAEMON_H
#define TM_AGENT_DAEMON_DAEMON_H
/*
 * The agent as a process: one loop that feeds agent/brain with what happens and carries out what it
 * says. Everything that blocks is elsewhere: nng's threads (session/line), one thread a database
 * session (session/engine_session), worker threads for looking at instances, runner processes for
 * moving bytes.
 *
 *     agent_daemon_run(&config, path, err)    returns after SIGTERM, or with what went wrong
 *
 * Start: lock on state_dir → checks of who owns what → loop, line, brain → READY=1. The first
 * SIGTERM drains (sessions closed, runners stopped, at most AGENT_DRAIN_S), the second ends at
 * once. SIGHUP reads the configuration again and applies log_level; what else changed is named and
 * needs a restart.
 */
#include "agent/daemon/config.h"
#include "common/err.h"

#define AGENT_DRAIN_S    20
#define AGENT_LOOK_MS    2000 /* pause between two looks at an instance */
#define AGENT_LOOK_MAX_S 15   /* a look that takes longer is reported as an error */

/* What can be known before starting: files that must be there, owners that must match. */
int agent_daemon_check(const struct agent_config *config, struct schema_warnings *warnings,
                       struct tm_err *err) TM_WUR;
/* Takes over *config. */
int agent_daemon_run(struct agent_config *config, const char *config_path,
                     struct tm_err *err) TM_WUR;

#endif
