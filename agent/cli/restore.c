/*
 * tidemark-agent restore: from storage alone to a data directory that starts.
 */
#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>

#include "agent/cli/internal.h"
#include "agent/restore/restore.h"
#include "common/clock.h"
#include "common/parse.h"

static const char help[] =
    "usage: tidemark-agent restore --storage URL --cluster C --data-dir DIR [options]\n"
    "\n"
    "Restores a backup into a data directory with nothing but the storage: no daemon, no other "
    "host.\n"
    "\n"
    "      --storage URL               of the repository: file:///path, s3://…, azblob://…\n"
    "      --secret-file FILE          its credentials, lines of KEY=VALUE; else the host's own\n"
    "      --full-backup-storage URL   where the backup lies, when not there\n"
    "      --full-backup-secret-file FILE  the credentials of that\n"
    "      --cluster C                 whose backup\n"
    "      --tenant T                  of which tenant (default: main, or the only one)\n"
    "      --backup ID                 which one (default: the newest that fits --to; see `list`)\n"
    "      --to TARGET                 where to stop (default: immediate, the backup's own end):\n"
    "                                  a time (2026-11-21T10:00:00Z), a TSO, a position "
    "(0/3000148),\n"
    "                                  xid:N, name:TEXT, latest; see `list` and `search`\n"
    "      --exclusive                 stop before the target, not behind it\n"
    "      --lineage ID                which branch of the log, where there are several\n"
    "      --dry-run                   say what would be restored, and write nothing\n"
    "      --data-dir DIR              must be empty or not there, unless --delta\n"
    "      --wal-dir DIR               log directory outside the data directory\n"
    "      --tablespace-map OLD=NEW    where a tablespace goes; once for each\n"
    "      --restore-root DIR          write only below this; may be given several times\n"
    "      --delta                     keep what is identical, replace what differs, remove the "
    "rest\n"
    "      --threads N                 default 2\n"
    "      --rate-limit MIB            MiB a second\n"
    "      --set NAME=VALUE            a server setting of the restored database\n"
    "      --start                     start it and wait until it accepts connections\n"
    "      --port N                    its port\n"
    "  -q, --quiet                     no progress\n"
    "  -h, --help                      print this and end\n"
    "\n"
    "Exit status: 0 restored, 1 failed, 2 wrong usage, 3 nothing found, 5 not permitted. After a\n"
    "failure the directory does not start.\n";

#define PAIRS_MAX 128u /* of tablespaces or settings */
#define ROOTS_MAX 64u

struct args {
    struct cli_where where;
    const char *full_url;
    const char *full_secret;
    const char *tablespaces[2 * PAIRS_MAX + 1];
    size_t tablespace_count; /* strings */
    const char *settings[2 * PAIRS_MAX + 1];
    size_t setting_count;
    const char *roots[ROOTS_MAX + 1];
    size_t root_count;
    bool quiet;
    struct restore_job job;
};

/* "a=b" in place → two strings. */
static int add_pair(const char **list, size_t *count, char *text)
{
    char *equals = strchr(text, '=');
    if (!equals || equals == text || *count + 2 > 2 * PAIRS_MAX)
        return -1;
    *equals = '\0';
    list[(*count)++] = text;
    list[(*count)++] = equals + 1;
    return 0;
}

static int number(const char *option, const char *text, uint64_t max, uint64_t *ret)
{
    struct tm_err err;
    if (parse_u64_in(text, 1, max, ret, &err) < 0)
        return cli_usage("restore", "%s: %s", option, err.msg);
    return 0;
}

enum {
    OPT_FULL = CLI_OPT_OWN,
    OPT_BACKUP,
    OPT_TO,
    OPT_EXCLUSIVE,
    OPT_LINEAGE,
    OPT_DRY_RUN,
    OPT_DATA_DIR,
    OPT_WAL_DIR,
    OPT_TABLESPACE,
    OPT_ROOT,
    OPT_DELTA,
    OPT_THREADS,
    OPT_RATE,
    OPT_SET,
    OPT_START,
    OPT_PORT,
    OPT_FULL_SECRET,
};

static const struct option options[] = {
    CLI_OPTIONS,
    {"full-backup-storage", required_argument, NULL, OPT_FULL},
    {"full-backup-secret-file", required_argument, NULL, OPT_FULL_SECRET},
    {"backup", required_argument, NULL, OPT_BACKUP},
    {"to", required_argument, NULL, OPT_TO},
    {"exclusive", no_argument, NULL, OPT_EXCLUSIVE},
    {"lineage", required_argument, NULL, OPT_LINEAGE},
    {"dry-run", no_argument, NULL, OPT_DRY_RUN},
    {"data-dir", required_argument, NULL, OPT_DATA_DIR},
    {"wal-dir", required_argument, NULL, OPT_WAL_DIR},
    {"tablespace-map", required_argument, NULL, OPT_TABLESPACE},
    {"restore-root", required_argument, NULL, OPT_ROOT},
    {"delta", no_argument, NULL, OPT_DELTA},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"rate-limit", required_argument, NULL, OPT_RATE},
    {"set", required_argument, NULL, OPT_SET},
    {"start", no_argument, NULL, OPT_START},
    {"port", required_argument, NULL, OPT_PORT},
    {"quiet", no_argument, NULL, 'q'},
    {NULL, 0, NULL, 0},
};

static int take_number(struct args *a, int option)
{
    uint64_t n = 0;
    int r;
    switch (option) {
    case OPT_THREADS:
        r = number("--threads", optarg, RESTORE_THREADS_MAX, &n);
        a->job.threads = (unsigned)n;
        return r;
    case OPT_RATE:
        r = number("--rate-limit", optarg, 1 << 20, &n);
        a->job.rate_limit_bytes_s = n << 20;
        return r;
    default:
        r = number("--port", optarg, 65535, &n);
        a->job.port = (uint16_t)n;
        return r;
    }
}

/* Options whose value is kept as it stands. */
static bool take_text(struct args *a, int option)
{
    const struct {
        int option;
        const char **value;
    } texts[] = {
        {OPT_FULL, &a->full_url},
        {OPT_BACKUP, &a->job.backup_id},
        {OPT_TO, &a->job.to},
        {OPT_DATA_DIR, &a->job.data_dir},
        {OPT_WAL_DIR, &a->job.wal_dir},
        {OPT_LINEAGE, &a->job.lineage},
        {OPT_FULL_SECRET, &a->full_secret},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(texts); n++) {
        if (texts[n].option == option) {
            *texts[n].value = optarg;
            return true;
        }
    }
    return false;
}

static int take_option(void *arg, int option)
{
    struct args *a = arg;
    if (take_text(a, option))
        return 0;
    switch (option) {
    case OPT_EXCLUSIVE:
        a->job.exclusive = true;
        return 0;
    case OPT_DRY_RUN:
        a->job.dry_run = true;
        return 0;
    case OPT_DELTA:
        a->job.delta = true;
        return 0;
    case OPT_START:
        a->job.start = true;
        return 0;
    case 'q':
        a->quiet = true;
        return 0;
    case OPT_TABLESPACE:
        return add_pair(a->tablespaces, &a->tablespace_count, optarg) == 0
                   ? 0
                   : cli_usage("restore", "--tablespace-map wants OLD=NEW, not '%s'", optarg);
    case OPT_SET:
        return add_pair(a->settings, &a->setting_count, optarg) == 0
                   ? 0
                   : cli_usage("restore", "--set wants NAME=VALUE, not '%s'", optarg);
    case OPT_ROOT:
        if (a->root_count == ROOTS_MAX)
            return cli_usage("restore", "more than %u --restore-root", ROOTS_MAX);
        a->roots[a->root_count++] = optarg;
        return 0;
    default:
        return take_number(a, option);
    }
}

/* As cli_parse. */
static int parse(int argc, char **argv, struct args *a)
{
    const struct cli_command command = {.subject = "restore",
                                        .help = help,
                                        .letters = "+:qh",
                                        .options = options,
                                        .take = take_option,
                                        .arg = a};
    int status = cli_parse(&command, argc, argv, &a->where);
    if (status != 0)
        return status;
    a->job.cluster = a->where.cluster;
    a->job.tenant = a->where.tenant;
    if (!a->job.cluster || !a->job.data_dir)
        return cli_usage("restore", "%s is needed", !a->job.cluster ? "--cluster" : "--data-dir");
    return 0;
}

/* ---- progress ---- */

struct display {
    bool terminal;
    bool quiet;
    enum restore_stage stage;
    int64_t started_us;
};

static void show_bar(const struct display *d, const struct restore_progress *p)
{
    char done[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX], rate[SIZE_TEXT_MAX];
    int64_t us = TM_MAX(clock_mono_us() - d->started_us, INT64_C(1));
    uint64_t per_s = (uint64_t)((double)p->bytes_done * 1e6 / (double)us);
    unsigned percent = p->bytes_total ? (unsigned)(p->bytes_done * 100 / p->bytes_total) : 0;
    if (p->stage == RESTORE_START && p->replay_total > 0) {
        (void)fprintf(stderr, "\r\033[K%-8s %3u%%  replayed %s of %s of log",
                      restore_stage_text(p->stage),
                      (unsigned)(p->replay_done * 100 / p->replay_total),
                      size_format(p->replay_done, done), size_format(p->replay_total, total));
        return;
    }
    (void)fprintf(stderr, "\r\033[K%-8s %3u%%  %s of %s  %s/s  ranges %u/%u",
                  restore_stage_text(p->stage), TM_MIN(percent, 100u),
                  size_format(p->bytes_done, done), size_format(p->bytes_total, total),
                  size_format(per_s, rate), p->ranges_done, p->ranges_total);
}

static void show(void *arg, const struct restore_progress *p)
{
    struct display *d = arg;
    if (d->quiet)
        return;
    if (d->terminal) {
        show_bar(d, p);
        if (p->stage == RESTORE_DONE)
            (void)fputc('\n', stderr);
    } else if (p->stage != d->stage && p->stage != RESTORE_DONE) {
        (void)fprintf(stderr, "restore: %s\n", restore_stage_text(p->stage));
    }
    d->stage = p->stage;
}

/* ---- interruption ---- */

/* ^C and SIGTERM end a restore in order: a thread waits for them and sets the job's cancel flag. */
struct interruption {
    atomic_bool canceled;
    sigset_t signals;
    pthread_t thread;
    bool started;
};

static void *wait_signal(void *arg)
{
    struct interruption *in = arg;
    int signo;
    if (sigwait(&in->signals, &signo) == 0)
        atomic_store(&in->canceled, true);
    /* a second one ends the process at once */
    (void)pthread_sigmask(SIG_UNBLOCK, &in->signals, NULL);
    for (;;)
        (void)pause();
    return NULL;
}

static void interruption_begin(struct interruption *in)
{
    atomic_store(&in->canceled, false);
    (void)sigemptyset(&in->signals);
    (void)sigaddset(&in->signals, SIGINT);
    (void)sigaddset(&in->signals, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &in->signals, NULL);
    in->started = pthread_create(&in->thread, NULL, wait_signal, in) == 0;
}

static void interruption_end(struct interruption *in)
{
    if (in->started) {
        (void)pthread_cancel(in->thread);
        (void)pthread_join(in->thread, NULL);
    }
    (void)pthread_sigmask(SIG_UNBLOCK, &in->signals, NULL);
}

/* ---- command ---- */

static int run(struct args *a, struct restore_outcome *ret, struct tm_err *err)
{
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    TM_CLEANUP(storage_freep) struct storage *full = NULL;
    TM_CLEANUP(freep) char *data_dir = NULL;
    struct interruption interruption = {.started = false};
    assert(a->where.url && a->job.data_dir);
    int r = cli_open(a->where.url, a->where.secret_file, &st, err);
    if (r == 0 && a->full_url)
        r = cli_open(a->full_url, a->full_secret, &full, err);
    if (r < 0)
        return r;
    if (a->job.data_dir[0] != '/') {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof(here)))
            return tm_err_errno(err, errno, "cannot tell the current directory");
        if (asprintf(&data_dir, "%s/%s", here, a->job.data_dir) < 0)
            return tm_err_oom(err);
        a->job.data_dir = data_dir;
    }
    struct display display = {.quiet = a->quiet,
                              .terminal = isatty(STDERR_FILENO) == 1,
                              .stage = RESTORE_DONE,
                              .started_us = clock_mono_us()};
    a->job.storage = st;
    a->job.full_storage = full;
    a->job.tablespace_map = a->tablespaces;
    a->job.server_options = a->settings;
    a->job.restore_roots = a->root_count ? a->roots : NULL;
    a->job.cancel = &interruption.canceled;
    a->job.progress = show;
    a->job.progress_arg = &display;
    interruption_begin(&interruption);
    r = restore_run(&a->job, ret, err);
    interruption_end(&interruption);
    if (r < 0 && display.terminal && !a->quiet)
        (void)fputc('\n', stderr);
    a->job.data_dir = NULL; /* may have been ours */
    return r;
}

static void print_outcome(const struct args *a, const char *data_dir,
                          const struct restore_outcome *o)
{
    char commit[CLOCK_TEXT_MAX], size[SIZE_TEXT_MAX], log[SIZE_TEXT_MAX];
    const struct restore_progress *p = &o->totals;
    (void)printf("%s backup %s into %s\n", a->job.dry_run ? "would restore" : "restored",
                 o->backup_id, data_dir);
    if (o->by_log)
        (void)printf("  with %s of log to replay up to the record at %s, branch %s\n",
                     size_format(o->log_bytes, log), o->position, o->label);
    (void)printf("  as of %s, position %s\n", clock_format(o->commit_us, commit), o->position);
    if (a->job.dry_run) {
        char estimate[CLOCK_TEXT_MAX];
        (void)printf(
            "  %u ranges, %s to be fetched, in about %s by %u threads as the storage answers now\n",
            p->ranges_total, size_format(p->bytes_total, size),
            duration_format_brief(TM_MAX(o->estimate_us, USEC_PER_SEC), estimate),
            a->job.threads ? a->job.threads : 2);
        return;
    }
    (void)printf("  %llu files, %s", (unsigned long long)p->files,
                 size_format(p->bytes_done, size));
    if (a->job.delta)
        (void)printf(", %s of it kept", size_format(p->bytes_kept, log));
    (void)printf("%s\n", o->started ? ", started" : "");
}

int cli_restore(int argc, char **argv)
{
    TM_CLEANUP(freep) struct args *a = calloc(1, sizeof(*a));
    struct tm_err err;
    if (!a) {
        (void)tm_err_oom(&err);
        return cli_fail("restore", &err);
    }
    int status = parse(argc, argv, a);
    if (status != 0)
        return TM_MAX(status, 0);
    const char *data_dir = a->job.data_dir;
    struct restore_outcome outcome;
    if (run(a, &outcome, &err) < 0)
        return cli_fail("restore", &err);
    print_outcome(a, data_dir, &outcome);
    return 0;
}
