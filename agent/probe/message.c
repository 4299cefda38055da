/* The report of a storage test as it goes over the wire. Can fail only for lack of memory. */
#include "agent/probe/probe.h"

static int steps_of(const struct probe_report *report, struct codec_arena *arena,
                    struct msg_probe_answer *to, struct tm_err *err)
{
    to->steps = codec_arena_array(arena, PROBE_STEP_LAST, sizeof(*to->steps), err);
    if (to->steps == NULL)
        return -(int)err->code;
    for (size_t step = PROBE_OPEN; step <= PROBE_STEP_LAST; step++) {
        const struct probe_one *one = &report->steps[step];
        struct msg_probe_step *out = &to->steps[to->steps_count++];
        out->step = (uint32_t)step;
        out->outcome = (uint32_t)one->outcome;
        out->took_us = (uint64_t)TM_MAX(one->took_us, INT64_C(0));
        if (one->outcome != PROBE_FAILED)
            continue;
        out->error = codec_arena_alloc(arena, sizeof(*out->error), err);
        if (out->error == NULL)
            return -(int)err->code;
        *out->error = msg_error_of(&one->err, probe_step_text((unsigned)step));
    }
    return 0;
}

static int texts_of(const char *first, size_t stride, size_t count, struct codec_arena *arena,
                    const char ***ret, size_t *ret_count, struct tm_err *err)
{
    if (count == 0)
        return 0;
    const char **texts = codec_arena_array(arena, count, sizeof(*texts), err);
    if (texts == NULL)
        return -(int)err->code;
    for (size_t n = 0; n < count; n++)
        texts[n] = first + n * stride;
    *ret = texts;
    *ret_count = count;
    return 0;
}

int probe_report_message(const struct probe_report *report, uint64_t id, struct codec_arena *arena,
                         struct msg_probe_answer *ret, struct tm_err *err)
{
    struct msg_probe_answer m = {
        .id = id,
        .put_us = (uint64_t)report->put_us,
        .get_us = (uint64_t)report->get_us,
        .upload_rate = report->upload_rate,
        .download_rate = report->download_rate,
        .create = (uint32_t)report->create,
        .has_skew = report->has_skew,
        .skew_us = report->skew_us,
        .mount = report->is_path ? report->mount : NULL,
        .mount_source = report->is_path ? report->mount_source : NULL,
        .network = report->network,
        .has_free = report->has_free,
        .free_bytes = report->free_bytes,
    };
    (void)snprintf(m.fs_type, sizeof(m.fs_type), "%s", report->fs_type);
    int r = steps_of(report, arena, &m, err);
    if (r == 0)
        r = texts_of(report->seen[0], sizeof(report->seen[0]), report->seen_count, arena, &m.seen,
                     &m.seen_count, err);
    if (r == 0)
        r = texts_of(report->warnings[0], sizeof(report->warnings[0]), report->warning_count, arena,
                     &m.warnings, &m.warnings_count, err);
    if (r == 0)
        *ret = m;
    return r;
}
