/*
 * tidemark-agent: the daemon beside a database, the runner it starts, and the commands that work
 * with nothing but the storage.
 *
 *     tidemark-agent -c FILE [--check-config]
 *     tidemark-agent restore | list | verify | storage …   agent/cli
 *     tidemark-agent --runner                        started by the daemon only
 *
 * Exit status: 0 after SIGTERM, 1 when it could not run, 2 for a wrong command line or
 * configuration.
 */
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/daemon/daemon.h"
#include "agent/runner/runner.h"
#include "common/daemon_main.h"

#define DEFAULT_CONFIG "/etc/tidemark/agent.yaml"

static const char usage[] =
    "usage: tidemark-agent [-c FILE] [--check-config]\n"
    "       tidemark-agent restore|list|search|verify --storage URL … (see --help of each)\n"
    "       tidemark-agent storage test --storage URL\n"
    "\n"
    "  -c, --config FILE   configuration, default " DEFAULT_CONFIG "\n"
    "      --check-config  read the configuration, say what is wrong with it, and end\n"
    "      --version       print the version and end\n"
    "  -h, --help          print this and end\n";

static int load(void *config, const char *path, struct schema_warnings *warnings,
                struct tm_err *err)
{
    int r = agent_config_load(path, config, warnings, err);
    return r < 0 ? r : agent_daemon_check(config, warnings, err);
}

static int run(void *config, const char *path, struct tm_err *err)
{
    return agent_daemon_run(config, path, err);
}

int main(int argc, char **argv)
{
    TM_CLEANUP(agent_config_release) struct agent_config config = {0};
    const struct daemon_main daemon = {
        .program = "tidemark-agent",
        .default_config = DEFAULT_CONFIG,
        .usage = usage,
        .stray = "is no sub-command",
        .config = &config,
        .load = load,
        .run = run,
    };
    if (argc > 1 && strcmp(argv[1], "--runner") == 0)
        return runner_main(argc, argv);
    if (cli_knows(argc, argv))
        return cli_main(argc, argv);
    return daemon_main(&daemon, argc, argv);
}
