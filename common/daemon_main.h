#ifndef TM_COMMON_DAEMON_MAIN_H
#define TM_COMMON_DAEMON_MAIN_H
/*
 * What main of both daemons does: options, configuration, --check-config, then the daemon.
 *
 *     static int load(void *config, const char *path, struct schema_warnings *, struct tm_err *);
 *     static int run(void *config, const char *path, struct tm_err *);
 *     return daemon_main(&(struct daemon_main){.program = "tidemark-x", …}, argc, argv);
 *
 * Options: -c FILE, --check-config, --version, -h. Speaks on stdout and stderr, as main does.
 * Returns the exit status: 0 after a clean end, 1 when it could not run, 2 for a wrong command line
 * or configuration. Signals are blocked and files are private (umask 077) before run is called.
 */
#include "common/err.h"
#include "common/schema.h"

struct daemon_main {
    const char *program;
    const char *default_config;
    const char *usage; /* printed by -h, and when an option is wrong */
    const char *stray; /* what a word behind the options is: "is no sub-command" */
    const char *flag;  /* a long option of its own, or NULL … */
    bool *ret_flag;    /* … which sets this */
    void *config;      /* filled by load, read by run; the caller releases it */
    /* Reads and checks; all that can be known to keep the daemon from running is found here. */
    int (*load)(void *config, const char *path, struct schema_warnings *warnings,
                struct tm_err *err);
    int (*run)(void *config, const char *path, struct tm_err *err);
};

int daemon_main(const struct daemon_main *d, int argc, char **argv);

#endif
