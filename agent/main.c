/*
 * tidemark-agent: the daemon beside a database, the runner it starts, and the commands that work
 * with nothing but the storage.
 *
 *     tidemark-agent -c FILE [--check-config]
 *     tidemark-agent restore | list | verify …       agent/cli
 *     tidemark-agent --runner                        started by the daemon only
 *
 * Exit status: 0 after SIGTERM, 1 when it could not run, 2 for a wrong command line or
 * configuration.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/cli/cli.h"
#include "agent/daemon/daemon.h"
#include "agent/runner/runner.h"
#include "common/loop.h"

#define DEFAULT_CONFIG "/etc/tidemark/agent.yaml"

static void usage(FILE *out)
{
    (void)fputs(
        "usage: tidemark-agent [-c FILE] [--check-config]\n"
        "       tidemark-agent restore|list|search|verify --storage URL … (see --help of each)\n"
        "\n"
        "  -c, --config FILE   configuration, default " DEFAULT_CONFIG "\n"
        "      --check-config  read the configuration, say what is wrong with it, and end\n"
        "      --version       print the version and end\n"
        "  -h, --help          print this and end\n",
        out);
}

static int fail(const struct tm_err *err)
{
    (void)fprintf(stderr, "tidemark-agent: %s\n", err->msg);
    return err->code == TM_E_INVALID ? 2 : 1;
}

static int run_daemon(const char *path, bool check_only)
{
    TM_CLEANUP(agent_config_release) struct agent_config config = {0};
    struct schema_warnings warnings = SCHEMA_WARNINGS_INIT;
    struct tm_err err = {0};
    int r = agent_config_load(path, &config, &warnings, &err);

    if (r == 0)
        r = agent_daemon_check(&config, &warnings, &err);
    schema_warnings_print(&warnings, "tidemark-agent", stderr);
    schema_warnings_release(&warnings);
    if (r < 0)
        return fail(&err);
    if (check_only) {
        (void)printf("%s: ok\n", path);
        return 0;
    }
    (void)umask(0077);
    if (loop_block_signals(&err) < 0 || agent_daemon_run(&config, path, &err) < 0)
        return fail(&err);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, 'k'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *path = DEFAULT_CONFIG;
    bool check_only = false;
    int option;

    if (argc > 1 && strcmp(argv[1], "--runner") == 0)
        return runner_main(argc, argv);
    if (cli_knows(argc, argv))
        return cli_main(argc, argv);
    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'k':
            check_only = true;
            break;
        case 'v':
            (void)puts("tidemark-agent " TM_VERSION);
            return 0;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "tidemark-agent: '%s' is no sub-command\n", argv[optind]);
        usage(stderr);
        return 2;
    }
    return run_daemon(path, check_only);
}
