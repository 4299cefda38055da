#ifndef TM_AGENT_ENGINE_POSTGRES_SERVER_H
#define TM_AGENT_ENGINE_POSTGRES_SERVER_H
/*
 * Finding, starting and watching a PostgreSQL server on this host.
 *
 * Programs are looked for in: an explicit directory, the distributions' versioned directories,
 * PATH, and what pg_config says; only a `postgres` of the wanted major version counts. Started
 * programs run as the owner of the data directory when we are root (through setpriv or runuser:
 * we spawn, we never fork), in its own session, with our descriptors closed.
 *
 * No globals. Blocks; thread safe apart from working on one directory twice.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/buf.h"
#include "common/err.h"

#define SERVER_BINDIR_MAX 512

/* `hint` may be NULL. TM_E_NOT_FOUND names every place that was looked at. */
int server_find_bindir(unsigned major, const char *hint, char ret_dir[SERVER_BINDIR_MAX],
                       struct tm_err *err) TM_WUR;

/* Is a postmaster alive on `dir_fd` (a data directory)? Reads postmaster.pid; a pid that lives,
 * belongs to another process and is not a postgres is still taken as alive when it cannot be told
 * apart. *ret_pid may be 0. */
int server_alive(int dir_fd, const char *data_dir, bool *ret_alive, pid_t *ret_pid,
                 struct tm_err *err) TM_WUR;

/* The log file that the starting server on `dir_fd` replays now, by its name: the title of the
 * startup process tells, long before the server can be asked. False when there is none. */
bool server_replaying(int dir_fd, char ret_segment[25]);

struct server_start {
    const char *bindir;
    const char *data_dir;
    const char *log_file; /* the server's stderr goes here */
    uid_t uid;            /* who runs it; used when we are root */
    gid_t gid;
    unsigned timeout_ms;
};
/* Starts and waits until it accepts connections and is out of recovery. On failure the server is
 * stopped again and the error carries the end of its log. */
int server_start(const struct server_start *start, struct tm_err *err) TM_WUR;

#endif
