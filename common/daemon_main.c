/*
 * Happy path: options are read, the configuration is loaded, its warnings printed, and the daemon
 * runs until it is told to end. Failure modes: each ends with one line on stderr and the status
 * that the header tells.
 */
#include "common/daemon_main.h"

#include <getopt.h>
#include <stdio.h>
#include <sys/stat.h>

#include "common/loop.h"

static int fail(const struct daemon_main *d, const struct tm_err *err)
{
    (void)fprintf(stderr, "%s: %s\n", d->program, err->msg);
    return err->code == TM_E_INVALID ? 2 : 1;
}

static int run_daemon(const struct daemon_main *d, const char *path, bool check_only)
{
    struct schema_warnings warnings = SCHEMA_WARNINGS_INIT;
    struct tm_err err = {0};
    int r = d->load(d->config, path, &warnings, &err);
    schema_warnings_print(&warnings, d->program, stderr);
    schema_warnings_release(&warnings);
    if (r < 0)
        return fail(d, &err);
    if (check_only) {
        (void)printf("%s: ok\n", path);
        return 0;
    }
    (void)umask(0077);
    if (loop_block_signals(&err) < 0 || d->run(d->config, path, &err) < 0)
        return fail(d, &err);
    return 0;
}

int daemon_main(const struct daemon_main *d, int argc, char **argv)
{
    const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, 'k'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {d->flag, no_argument, NULL, 'f'}, /* NULL ends the list here */
        {NULL, 0, NULL, 0},
    };
    const char *path = d->default_config;
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
        case 'v':
            (void)printf("%s " TM_VERSION "\n", d->program);
            return 0;
        case 'h':
            (void)fputs(d->usage, stdout);
            return 0;
        case 'f':
            *d->ret_flag = true;
            break;
        default:
            (void)fputs(d->usage, stderr);
            return 2;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "%s: '%s' %s\n", d->program, argv[optind], d->stray);
        (void)fputs(d->usage, stderr);
        return 2;
    }
    return run_daemon(d, path, check_only);
}
