/*
 * A mounted path: what it is, and who else sees it.
 *
 * Nodes that share a directory find each other's tokens in it. Each puts its own before it looks, and
 * takes it away when it has seen all others or has waited long enough: of two, the one whose token came
 * later sees the other's, as long as they are tested at about the same time. Each looks between its
 * steps, too, and lets its token lie for a moment when it has seen all: so that they seldom wait for one
 * that has been there and gone.
 *
 * Failure modes: what cannot be found out is left out of the report; whether the path can be used is
 * told by the steps.
 */
#include "agent/probe/internal.h"

#include <stdio.h>
#include <sys/stat.h>

#include "agent/probe/mount.h"
#include "common/clock.h"

#define SHARE_WAIT_MS_DEFAULT 5000
#define LOOK_PAUSE_NS         50000000
#define LINGER_NS             300000000

void probe_path_mount(const char *path, struct probe_report *report)
{
    struct tm_err ignored;
    TM_CLEANUP(freep) struct mount *mount = calloc(1, sizeof(*mount));
    if (mount == NULL || mount_of(path, mount, &ignored) < 0)
        return;
    report->is_path = true;
    report->network = mount->network;
    (void)snprintf(report->mount, sizeof(report->mount), "%.1023s", mount->point);
    (void)snprintf(report->mount_source, sizeof(report->mount_source), "%.1023s", mount->source);
    (void)snprintf(report->fs_type, sizeof(report->fs_type), "%s", mount->type);
}

static bool same_disk(const char *path, const char *other)
{
    struct stat one, two;
    return other != NULL && other[0] != '\0' && stat(path, &one) == 0 && stat(other, &two) == 0 &&
           one.st_dev == two.st_dev;
}

void probe_path_look(const char *path, const struct probe *p)
{
    struct probe_report *report = p->report;
    const char *data_dir = p->options->data_dir;
    struct tm_err ignored;
    TM_CLEANUP(freep) char *real = realpath(path, NULL);
    if (real != NULL)
        probe_path_mount(real, report);
    report->has_free = storage_free_space(p->st, &report->free_bytes, &ignored) == 0 &&
                       report->free_bytes != UINT64_MAX;
    if (report->has_free && report->free_bytes < PROBE_FREE_BYTES)
        probe_warn(report, "only %llu MiB are free below '%s'",
                   (unsigned long long)(report->free_bytes >> 20), path);
    if (!report->is_path || report->network)
        return;
    if (same_disk(real != NULL ? real : path, data_dir))
        probe_warn(report,
                   "'%s' is not a mount of its own: backups would lie on the database's own disk, "
                   "beside '%s'",
                   path, data_dir);
    else if (strcmp(report->mount, "/") == 0)
        probe_warn(report, "'%s' is not a mount: backups would lie on the disk of '/'", path);
}

void probe_token_put(struct probe *p)
{
    static const char text[] = "a storage test runs\n";
    struct tm_err ignored; /* the steps tell what keeps it from being stored */
    if (p->options->nodes < 2)
        return;
    const char *name = p->names[PROBE_TOKEN_NAME];
    p->touched[PROBE_TOKEN_NAME] = true;
    p->token_us = clock_mono_us();
    if (storage_put(p->st, name, slice_str(text), &ignored) == 0 ||
        storage_remove(p->st, &name, 1, &ignored) < 0)
        return;
    p->touched[PROBE_TOKEN_NAME] = false;
}

static void see(struct probe_report *report, const char *node)
{
    size_t at = 0;
    int order = -1;
    while (at < report->seen_count && (order = strcmp(report->seen[at], node)) < 0)
        at++;
    if ((at < report->seen_count && order == 0) || report->seen_count == WIRE_PROBE_NODES)
        return;
    memmove(report->seen[at + 1], report->seen[at],
            (report->seen_count - at) * sizeof(report->seen[0]));
    (void)snprintf(report->seen[at], sizeof(report->seen[at]), "%.*s", WIRE_NAME_MAX, node);
    report->seen_count++;
}

static int look_once(struct probe *p, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object object;
    char prefix[STORAGE_NAME_MAX + 1];
    const char *own = p->names[PROBE_TOKEN_NAME];
    int len = (int)(strlen(own) - strlen(p->options->node));
    (void)snprintf(prefix, sizeof(prefix), "%.*s", len, own);
    int r = storage_list(p->st, prefix, NULL, &it, err);
    while (r >= 0 && (r = storage_iter_next(it, &object, err)) > 0)
        see(p->report, object.name + len);
    return r;
}

static size_t wanted(const struct probe *p)
{
    return TM_MIN(p->options->nodes, (size_t)WIRE_PROBE_NODES);
}

static void nap(long ns)
{
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = ns}, NULL);
}

void probe_token_look(struct probe *p)
{
    struct tm_err ignored;
    if (p->touched[PROBE_TOKEN_NAME] && p->report->seen_count < wanted(p) &&
        look_once(p, &ignored) < 0)
        return; /* the steps tell what is wrong */
}

void probe_token_wait(struct probe *p)
{
    unsigned ms =
        p->options->share_wait_ms != 0 ? p->options->share_wait_ms : SHARE_WAIT_MS_DEFAULT;
    int64_t until_us = TM_MIN(p->token_us + (int64_t)ms * USEC_PER_MSEC, p->deadline_us);
    struct tm_err ignored;
    while (look_once(p, &ignored) == 0 && p->report->seen_count < wanted(p) &&
           clock_mono_us() < until_us)
        nap(LOOK_PAUSE_NS);
    if (p->report->seen_count == wanted(p))
        nap(LINGER_NS);
}
