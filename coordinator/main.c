/*
 * tidemark-coordinator: plans and decides.
 *
 *     tidemark-coordinator -c FILE [--check-config]
 *
 * Exit status: 0 after SIGTERM, 1 when it could not run, 2 for a wrong command line or
 * configuration.
 */
#include <getopt.h>
#include <stdio.h>
#include <sys/stat.h>

#include "common/loop.h"
#include "coordinator/daemon/daemon.h"

#define DEFAULT_CONFIG "/etc/tidemark/coordinator.yaml"

static void usage(FILE *out)
{
    (void)fputs(
        "usage: tidemark-coordinator [-c FILE] [--check-config]\n"
        "\n"
        "  -c, --config FILE      configuration, default " DEFAULT_CONFIG "\n"
        "      --check-config     read the configuration, say what is wrong with it, and end\n"
        "      --rebuild-catalog  not in this version\n"
        "      --version          print the version and end\n"
        "  -h, --help             print this and end\n",
        out);
}

static int fail(const struct tm_err *err)
{
    (void)fprintf(stderr, "tidemark-coordinator: %s\n", err->msg);
    return err->code == TM_E_INVALID ? 2 : 1;
}

static int run_daemon(const char *path, bool check_only)
{
    TM_CLEANUP(config_release) struct config config = {0};
    struct schema_warnings warnings = SCHEMA_WARNINGS_INIT;
    struct tm_err err = {0};
    int r = config_load(path, &config, &warnings, &err);

    if (r == 0)
        r = coordinator_daemon_check(&config, &err);
    schema_warnings_print(&warnings, "tidemark-coordinator", stderr);
    schema_warnings_release(&warnings);
    if (r < 0)
        return fail(&err);
    if (check_only) {
        (void)printf("%s: ok\n", path);
        return 0;
    }
    (void)umask(0077);
    if (loop_block_signals(&err) < 0 || coordinator_daemon_run(&config, path, &err) < 0)
        return fail(&err);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, 'k'},
        {"rebuild-catalog", no_argument, NULL, 'r'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *path = DEFAULT_CONFIG;
    bool check_only = false;
    int option;

    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'k':
            check_only = true;
            break;
        case 'r':
            (void)fputs("tidemark-coordinator: --rebuild-catalog is not in this version\n", stderr);
            return 1;
        case 'v':
            (void)puts("tidemark-coordinator " TM_VERSION);
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
        (void)fprintf(stderr, "tidemark-coordinator: unexpected argument '%s'\n", argv[optind]);
        usage(stderr);
        return 2;
    }
    return run_daemon(path, check_only);
}
