/*
 * <state_dir>/log-jobs: the log jobs this agent was last told to have, so that it goes on streaming
 * after a restart while no coordinator can be reached.
 *
 * The file is LOG_JOBS_MAGIC, the XXH3-128 of what follows, and one msgpack map with the assignments
 * as they came over the wire. It holds what a storage URL holds, so only its owner may read it.
 *
 * Failure: a file that is damaged, too long or of another version is named in the log and not used;
 * the next desired set that differs replaces it. One that cannot be written is named, too: only a
 * restart without a coordinator would miss it.
 */
#include "agent/daemon/internal.h"

#include <limits.h>
#include <string.h>

#include "common/fs.h"
#include "common/hash.h"

#define LOG_JOBS_MAGIC     "tm-log-jobs 1\n"
#define LOG_JOBS_MAGIC_LEN (sizeof(LOG_JOBS_MAGIC) - 1)
#define LOG_JOBS_FILE_MAX  ((size_t)256 * 1024)

#define LOG_JOBS_FIELDS(X, T) X(T, list, jobs, "j", OPT, 0, msg_assignment, WIRE_JOBS_MAX)
CODEC_DECLARE(log_jobs, LOG_JOBS_FIELDS);
CODEC_DEFINE(log_jobs, "log-jobs", LOG_JOBS_FIELDS);

void agent_log_jobs_release(struct agent_log_jobs *jobs)
{
    codec_arena_release(&jobs->arena);
    *jobs = (struct agent_log_jobs){0};
}

int agent_log_jobs_encode(const struct msg_assignment *jobs, size_t count, struct buf *out,
                          struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf body = BUF_INIT;
    struct msg_assignment copies[WIRE_JOBS_MAX];
    const struct log_jobs record = {.jobs = copies, .jobs_count = count};
    struct xxh3_128 sum;
    int r;

    if (count > WIRE_JOBS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d log jobs", WIRE_JOBS_MAX);
    for (size_t i = 0; i < count; i++)
        copies[i] = jobs[i];
    if ((r = codec_encode(&log_jobs_codec, &record, CODEC_MINOR_ALL, &body, err)) < 0)
        return r;
    sum = xxh3_128_of(body.data, body.len);
    if ((r = buf_append(out, LOG_JOBS_MAGIC, LOG_JOBS_MAGIC_LEN, err)) < 0 ||
        (r = buf_append(out, sum.bytes, sizeof sum.bytes, err)) < 0)
        return r;
    return buf_append_slice(out, buf_slice(&body), err);
}

static int check_jobs(const struct log_jobs *record, struct tm_err *err)
{
    for (size_t i = 0; i < record->jobs_count; i++)
        if (record->jobs[i].kind != JOB_KIND_LOG || !record->jobs[i].log)
            return tm_err_set(err, TM_E_CORRUPT, "job '%s' is not a log job", record->jobs[i].name);
    return 0;
}

int agent_log_jobs_decode(struct slice in, struct agent_log_jobs *ret, struct tm_err *err)
{
    struct codec_arena arena = {0};
    struct log_jobs record;
    struct xxh3_128 sum, stored;
    int r;

    if (in.len < LOG_JOBS_MAGIC_LEN + sizeof stored.bytes ||
        memcmp(in.data, LOG_JOBS_MAGIC, LOG_JOBS_MAGIC_LEN) != 0)
        return tm_err_set(err, TM_E_CORRUPT, "it is no file of log jobs of this version");
    memcpy(stored.bytes, in.data + LOG_JOBS_MAGIC_LEN, sizeof stored.bytes);
    in = slice_of(in.data + LOG_JOBS_MAGIC_LEN + sizeof stored.bytes,
                  in.len - LOG_JOBS_MAGIC_LEN - sizeof stored.bytes);
    sum = xxh3_128_of(in.data, in.len);
    if (!xxh3_128_eq(&sum, &stored))
        return tm_err_set(err, TM_E_CORRUPT, "its checksum is not that of its contents");
    if ((r = codec_decode(&log_jobs_codec, in, &arena, &record, err)) < 0 ||
        (r = check_jobs(&record, err)) < 0) {
        codec_arena_release(&arena);
        return r;
    }
    *ret =
        (struct agent_log_jobs){.items = record.jobs, .count = record.jobs_count, .arena = arena};
    return 0;
}

static int load(struct agent *a, const char *path, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    int r;

    if ((r = fs_read_file(path, LOG_JOBS_FILE_MAX, &bytes, err)) < 0)
        return r;
    return agent_log_jobs_decode(buf_slice(&bytes), &a->log_jobs, err);
}

void agent_log_jobs_load(struct agent *a)
{
    char path[PATH_MAX];
    struct tm_err err = {0};

    if (fs_join(path, sizeof path, a->config.state_dir, "log-jobs", &err) < 0)
        log_error(&a->lg, NULL, "cannot read the log jobs of before: %s", err.msg);
    else if (load(a, path, &err) < 0 && err.code != TM_E_NOT_FOUND)
        log_error(&a->lg, NULL, "'%s' cannot be used, log jobs wait for the coordinator: %s", path,
                  err.msg);
    else if (a->log_jobs.count > 0)
        log_info(&a->lg, NULL, "%zu log job%s of before %s taken up again", a->log_jobs.count,
                 a->log_jobs.count == 1 ? "" : "s", a->log_jobs.count == 1 ? "is" : "are");
}

void agent_log_jobs_store(struct agent *a, const struct msg_assignment *jobs, size_t count)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    char path[PATH_MAX];
    struct tm_err err = {0};

    if (fs_join(path, sizeof path, a->config.state_dir, "log-jobs", &err) < 0 ||
        agent_log_jobs_encode(jobs, count, &bytes, &err) < 0 ||
        fs_write_atomic(path, buf_slice(&bytes), 0600, &err) < 0)
        log_warning(&a->lg, NULL, "cannot remember the log jobs: %s", err.msg);
}
