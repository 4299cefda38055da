/*
 * What this agent keeps about log jobs for its next life, in two files of state_dir (a third is holds.c's):
 *
 *   log-jobs      the assignments it was last told, so that it goes on streaming after a restart
 *                 while no coordinator can be reached. Best effort: one that is damaged is named in
 *                 the log and not used, one that cannot be written is named, too; only a restart
 *                 without a coordinator would miss it.
 *   log-writers   how many runners each had. Not best effort: it is stored before the runner
 *                 starts, and a file that cannot be used keeps the agent from starting, because
 *                 two writers with one epoch could not be told apart in storage.
 *
 * A file is KEPT_MAGIC, the XXH3-128 of what follows, and one msgpack map. Storage URLs may be
 * somebody's secret, so only the owner may read it. Credentials are never in it, only the names of
 * the secrets: after a restart such a job waits for the coordinator to send them again.
 */
#include "agent/daemon/internal.h"

#include <limits.h>
#include <string.h>

#include "common/fs.h"
#include "common/hash.h"

#define KEPT_MAGIC     "tidemark kept 1\n"
#define KEPT_MAGIC_LEN (sizeof(KEPT_MAGIC) - 1)
#define KEPT_FILE_MAX  ((size_t)256 * 1024)

CODEC_DEFINE(kept_jobs, "log-jobs", KEPT_JOBS_FIELDS);
CODEC_DEFINE(kept_writers, "log-writers", KEPT_WRITERS_FIELDS);

int agent_kept_encode(const struct codec_table *table, const void *record, struct buf *out,
                      struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf body = BUF_INIT;
    struct xxh3_128 sum;
    int r;

    if ((r = codec_encode(table, record, CODEC_MINOR_ALL, &body, err)) < 0)
        return r;
    sum = xxh3_128_of(body.data, body.len);
    if ((r = buf_append(out, KEPT_MAGIC, KEPT_MAGIC_LEN, err)) < 0 ||
        (r = buf_append(out, sum.bytes, sizeof sum.bytes, err)) < 0)
        return r;
    return buf_append_slice(out, buf_slice(&body), err);
}

int agent_kept_decode(const struct codec_table *table, struct slice in, struct codec_arena *arena,
                      void *record, struct tm_err *err)
{
    struct xxh3_128 sum, stored;

    if (in.len < KEPT_MAGIC_LEN + sizeof stored.bytes ||
        memcmp(in.data, KEPT_MAGIC, KEPT_MAGIC_LEN) != 0)
        return tm_err_set(err, TM_E_CORRUPT, "it is no file of this version");
    memcpy(stored.bytes, in.data + KEPT_MAGIC_LEN, sizeof stored.bytes);
    in = slice_of(in.data + KEPT_MAGIC_LEN + sizeof stored.bytes,
                  in.len - KEPT_MAGIC_LEN - sizeof stored.bytes);
    sum = xxh3_128_of(in.data, in.len);
    if (!xxh3_128_eq(&sum, &stored))
        return tm_err_set(err, TM_E_CORRUPT, "its checksum is not that of its contents");
    return codec_decode(table, in, arena, record, err);
}

/* The record of a file that is not there is left as it is. */
int agent_kept_load(const char *path, const struct codec_table *table, struct codec_arena *arena,
                    void *record, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    struct tm_err why = {0};
    int r = fs_read_file(path, KEPT_FILE_MAX, &bytes, &why);

    if (r < 0 && why.code == TM_E_NOT_FOUND)
        return 0;
    if (r < 0) {
        *err = why;
        return r;
    }
    if ((r = agent_kept_decode(table, buf_slice(&bytes), arena, record, err)) < 0)
        codec_arena_release(arena);
    return r;
}

int agent_kept_store(const struct agent *a, const char *name, const struct codec_table *table,
                     const void *record, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    char path[PATH_MAX];
    int r;

    if ((r = fs_join(path, sizeof path, a->config.state_dir, name, err)) < 0 ||
        (r = agent_kept_encode(table, record, &bytes, err)) < 0)
        return r;
    return fs_write_atomic(path, buf_slice(&bytes), 0600, err);
}

/* ---- log jobs ---- */

static int check_jobs(const struct kept_jobs *jobs, struct tm_err *err)
{
    for (size_t i = 0; i < jobs->jobs_count; i++)
        if (jobs->jobs[i].kind != JOB_KIND_LOG || !jobs->jobs[i].log)
            return tm_err_set(err, TM_E_CORRUPT, "job '%s' is not a log job", jobs->jobs[i].name);
    return 0;
}

void agent_kept_release(struct agent_kept *kept)
{
    codec_arena_release(&kept->arena);
    codec_arena_release(&kept->writers_arena);
    codec_arena_release(&kept->holds_arena);
    *kept = (struct agent_kept){0};
}

void agent_kept_load_jobs(struct agent *a)
{
    struct agent_kept *kept = &a->kept;
    char path[PATH_MAX];
    struct tm_err err = {0};
    int r;

    if ((r = fs_join(path, sizeof path, a->config.state_dir, "log-jobs", &err)) == 0 &&
        (r = agent_kept_load(path, &kept_jobs_codec, &kept->arena, &kept->jobs, &err)) == 0)
        r = check_jobs(&kept->jobs, &err);
    if (r < 0) {
        codec_arena_release(&kept->arena);
        kept->jobs = (struct kept_jobs){0};
        log_error(&a->lg, NULL, "'%s' cannot be used, log jobs wait for the coordinator: %s", path,
                  err.msg);
    } else if (kept->jobs.jobs_count > 0) {
        log_info(&a->lg, NULL, "log jobs of before that are taken up again: %zu",
                 kept->jobs.jobs_count);
    }
}

void agent_kept_store_jobs(struct agent *a, const struct msg_assignment *jobs, size_t count,
                           uint64_t term)
{
    struct msg_assignment copies[WIRE_JOBS_MAX];
    const struct kept_jobs record = {
        .jobs = copies, .jobs_count = TM_MIN(count, (size_t)WIRE_JOBS_MAX), .term = term};
    struct tm_err err = {0};

    for (size_t i = 0; i < record.jobs_count; i++)
        copies[i] = jobs[i];
    if (agent_kept_store(a, "log-jobs", &kept_jobs_codec, &record, &err) < 0)
        log_warning(&a->lg, NULL, "cannot remember the log jobs: %s", err.msg);
}

/* ---- writers ---- */

int agent_kept_load_writers(struct agent *a, struct tm_err *err)
{
    struct agent_kept *kept = &a->kept;
    char path[PATH_MAX];
    int r;

    if ((r = fs_join(path, sizeof path, a->config.state_dir, "log-writers", err)) < 0 ||
        (r = agent_kept_load(path, &kept_writers_codec, &kept->writers_arena, &kept->writers,
                             err)) == 0)
        return r;
    return tm_err_prefix(err,
                         "'%s' cannot be used; remove it after a restart of the coordinator, "
                         "which gives a new term",
                         path);
}

int agent_kept_store_writers(struct agent *a, const struct agent_writer *writers, size_t count,
                             struct tm_err *err)
{
    struct agent_writer copies[AGENT_BRAIN_WRITERS_MAX];
    const struct kept_writers record = {
        .writers = copies, .writers_count = TM_MIN(count, (size_t)AGENT_BRAIN_WRITERS_MAX)};

    for (size_t i = 0; i < record.writers_count; i++)
        copies[i] = writers[i];
    return agent_kept_store(a, "log-writers", &kept_writers_codec, &record, err);
}
