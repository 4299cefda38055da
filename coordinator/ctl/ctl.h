#ifndef TM_COORDINATOR_CTL_CTL_H
#define TM_COORDINATOR_CTL_CTL_H
/*
 * The command line `tidemark`: words in, one conversation with the coordinator's control socket,
 * text out. Nothing here decides anything; the coordinator parses YAML and owns all state.
 *
 *     main → ctl_main → finds the command in a table → options (options.h) → its run function
 *
 * Exit status (a contract with scripts): 0 ok, 1 the operation failed, 2 usage, 3 not found,
 * 4 cannot reach the daemon, 5 refused. Errors are one line on stderr: "tidemark: subject: what".
 * Output goes through struct ctl, so that tests read it back.
 */
#include <stdio.h>

#include "common/buf.h"
#include "common/err.h"

struct ctl_client;

struct ctl {
    FILE *out;
    FILE *err;
    const char *socket_path;   /* --socket, TIDEMARK_CONTROL_SOCKET, or the default */
    struct ctl_client *client; /* connected on first use */
    bool terminal;             /* out is one: progress bars, live views */
};

#define CTL_SOCKET_DEFAULT "/run/tidemark/control.sock"
#define CTL_STATUS_USAGE   2

int ctl_main(int argc, char **argv);
/* The same with everything in *c set, socket_path included; argv[0] is skipped. */
int ctl_run(struct ctl *c, int argc, char **argv);

/* "tidemark: <message>" on stderr; returns the exit status that belongs to the error. */
int ctl_fail(struct ctl *c, const struct tm_err *err);
/* The same for a mistake in the words themselves: status 2, with where to read more. */
int ctl_usage(struct ctl *c, const char *command, const char *fmt, ...) TM_PRINTF(3, 4);

#endif
