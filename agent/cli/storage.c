/*
 * tidemark-agent storage test: whether this host gets into a storage, step by step, without a daemon.
 *
 * Failure modes: a step that fails is a line of its own with the storage's words, and status 1. A
 * server that hangs holds this process; it is for a terminal.
 */
#include <inttypes.h>

#include "agent/cli/internal.h"
#include "agent/probe/probe.h"
#include "common/secret_map.h"

static const char help[] =
    "usage: tidemark-agent storage test --storage URL [--secret-file FILE]\n"
    "\n"
    "Writes small objects below probe/ in the storage, reads them back, lists them, creates one a\n"
    "second time, and deletes them: one line a step, with what the storage said when one fails.\n"
    "Nothing stays behind. Needs no daemon.\n"
    "\n"
    "      --storage URL        file:///path, s3://bucket/prefix?…, azblob://container/prefix?…\n"
    "      --secret-file FILE   credentials, lines of KEY=VALUE; default: the host's own\n"
    "  -h, --help               print this and end\n"
    "\n"
    "Exit status: 0 every step is well, 1 one failed, 2 wrong usage.\n";

static void print_step(const struct probe_report *report, enum probe_step step)
{
    const struct probe_one *one = &report->steps[step];
    (void)printf("%-18s %-8s", probe_step_text(step), probe_outcome_text(one->outcome));
    if (one->outcome == PROBE_FAILED)
        (void)printf(" %s\n", one->err.msg);
    else if (one->outcome == PROBE_OK)
        (void)printf(" %.1f ms\n", (double)one->took_us / 1000);
    else
        (void)printf("\n");
}

static void print_numbers(const struct probe_report *report)
{
    char up[SIZE_TEXT_MAX], down[SIZE_TEXT_MAX];
    if (report->put_us > 0 && report->get_us > 0)
        (void)printf("latency            write %" PRId64 " us, read %" PRId64 " us\n",
                     report->put_us, report->get_us);
    if (report->upload_rate > 0 && report->download_rate > 0)
        (void)printf("throughput         write %s/s, read %s/s\n",
                     size_format(report->upload_rate, up),
                     size_format(report->download_rate, down));
    if (report->create != PROBE_CREATE_UNKNOWN)
        (void)printf("conditional create %s\n",
                     report->create == PROBE_CREATE_FENCED ? "yes" : "no");
    if (report->has_skew)
        (void)printf("clock skew         %.3f s\n", (double)report->skew_us / 1e6);
    if (report->is_path)
        (void)printf("mount              %s on %s, type %s%s\n", report->mount_source,
                     report->mount, report->fs_type, report->network ? ", network" : "");
    if (report->has_free)
        (void)printf("free               %s\n", size_format(report->free_bytes, up));
}

static int test(const struct cli_where *where, struct tm_err *err)
{
    TM_CLEANUP(secret_map_release) struct secret_map secret = SECRET_MAP_INIT;
    TM_CLEANUP(freep) struct probe_report *report = calloc(1, sizeof(*report));
    const struct storage_options storage = {.secret = where->secret_file ? &secret : NULL};
    const struct probe_options options = {.node = "host"};
    if (report == NULL)
        return tm_err_oom(err);
    int r = where->secret_file ? secret_map_load(where->secret_file, &secret, err) : 0;
    if (r < 0)
        return r;
    probe_url(where->url, &storage, &options, report);
    for (unsigned step = PROBE_OPEN; step <= PROBE_STEP_LAST; step++)
        print_step(report, (enum probe_step)step);
    print_numbers(report);
    for (size_t n = 0; n < report->warning_count; n++)
        (void)printf("warning: %s\n", report->warnings[n]);
    return probe_well(report)
               ? 0
               : tm_err_set(err, TM_E_IO, "'%s' cannot be used from here", where->url);
}

static int take_option(void *arg, int option)
{
    (void)arg, (void)option;
    return 0;
}

int cli_storage(int argc, char **argv)
{
    static const struct option options[] = {
        {"storage", required_argument, NULL, CLI_OPT_STORAGE},
        {"secret-file", required_argument, NULL, CLI_OPT_SECRET},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const struct cli_command command = {.subject = "storage",
                                        .help = help,
                                        .letters = "+:h",
                                        .options = options,
                                        .take = take_option};
    struct cli_where where;
    struct tm_err err;
    bool tests = argc > 1 && strcmp(argv[1], "test") == 0;
    if (!tests && (argc < 2 || (strcmp(argv[1], "--help") != 0 && strcmp(argv[1], "-h") != 0)))
        return cli_usage("storage", "test is needed");
    int status = cli_parse(&command, argc - tests, argv + tests, &where);
    if (status != 0)
        return TM_MAX(status, 0);
    return test(&where, &err) < 0 ? cli_fail("storage", &err) : 0;
}
