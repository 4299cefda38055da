/*
 * tidemark-coordinator: plans and decides.
 *
 *     tidemark-coordinator -c FILE [--check-config | --rebuild-catalog]
 *
 * Exit status: 0 after SIGTERM, 1 when it could not run, 2 for a wrong command line or
 * configuration.
 */
#include "common/daemon_main.h"
#include "coordinator/daemon/daemon.h"

#define DEFAULT_CONFIG "/etc/tidemark/coordinator.yaml"

static const char usage[] =
    "usage: tidemark-coordinator [-c FILE] [--check-config | --rebuild-catalog]\n"
    "\n"
    "  -c, --config FILE      configuration, default " DEFAULT_CONFIG "\n"
    "      --check-config     read the configuration, say what is wrong with it, and end\n"
    "      --rebuild-catalog  start with an empty state that is to be filled from what storage "
    "holds:\n"
    "                         agents keep their jobs, truncation and what expires waits. Then\n"
    "                         'tidemark rebuild --storage URL' and 'tidemark rebuild confirm'\n"
    "      --version          print the version and end\n"
    "  -h, --help             print this and end\n";

static bool rebuild_catalog;

static int load(void *arg, const char *path, struct schema_warnings *warnings, struct tm_err *err)
{
    struct config *config = arg;
    int r = config_load(path, config, warnings, err);
    config->rebuild = rebuild_catalog;
    return r < 0 ? r : coordinator_daemon_check(config, err);
}

static int run(void *config, const char *path, struct tm_err *err)
{
    return coordinator_daemon_run(config, path, err);
}

int main(int argc, char **argv)
{
    TM_CLEANUP(config_release) struct config config = {0};
    const struct daemon_main daemon = {
        .program = "tidemark-coordinator",
        .default_config = DEFAULT_CONFIG,
        .usage = usage,
        .stray = "is one word too many",
        .flag = "rebuild-catalog",
        .ret_flag = &rebuild_catalog,
        .config = &config,
        .load = load,
        .run = run,
    };
    return daemon_main(&daemon, argc, argv);
}
