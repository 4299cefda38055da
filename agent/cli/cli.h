#ifndef TM_AGENT_CLI_CLI_H
#define TM_AGENT_CLI_CLI_H
/*
 * `tidemark-agent restore|list|search|verify|storage`: what works with nothing but the storage, when every host
 * and every daemon is gone.
 *
 * Exit status: 0 ok, 1 the operation failed, 2 usage, 3 not found, 5 refused (permission). Errors
 * are one line on stderr: "tidemark-agent: subject: what, why, what to do".
 */
#include <stdbool.h>

/* Whether argv[1] is one of the sub-commands here. */
bool cli_knows(int argc, char *const *argv);
/* argv[1] is the sub-command. Writes to stdout and stderr, returns the exit status. */
int cli_main(int argc, char **argv);

#endif
