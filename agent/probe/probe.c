/*
 * The steps of a storage test.
 *
 * Happy path: open → small objects, and on a mounted path the token, are put → read back, read in part,
 * listed → one is created a second time → a big one is stored and read → all are removed → none is
 * listed → the tokens of other nodes are awaited → everything that may be left is removed.
 *
 * Failure modes: a step that fails is told with the storage's own error, and those that need what
 * it would have made are skipped; all of them once the store has not answered, which takes long
 * enough. A call that never returns is ended from outside, with the process.
 */
#include "agent/probe/internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/storage/url.h"

#define TIMEOUT_MS_DEFAULT 60000
#define STALE_MAX          100 /* removed at once */
#define CHUNK_BYTES        ((size_t)1 << 20)

void probe_warn(struct probe_report *report, const char *fmt, ...)
{
    va_list ap;
    if (report->warning_count == WIRE_WARNINGS_MAX)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(report->warnings[report->warning_count++], sizeof(report->warnings[0]), fmt,
                    ap);
    va_end(ap);
}

bool probe_well(const struct probe_report *report)
{
    for (size_t step = PROBE_OPEN; step <= PROBE_STEP_LAST; step++) {
        if (report->steps[step].outcome != PROBE_OK)
            return false;
    }
    return true;
}

/* ---- contents ---- */

/* Bytes that no compression makes smaller, the same for the same seed. */
static void fill(uint8_t *to, size_t len, uint64_t seed)
{
    uint64_t state = seed | 1;
    for (size_t at = 0; at < len; at++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        to[at] = (uint8_t)(state >> 24);
    }
}

static int differs(const char *name, struct tm_err *err)
{
    return tm_err_set(err, TM_E_CORRUPT, "'%s' reads otherwise than it was written", name);
}

/* ---- steps ---- */

typedef int (*step_fn)(struct probe *p, struct tm_err *err);

static bool is_away(const struct tm_err *err)
{
    return err->code == TM_E_UNAVAILABLE || err->code == TM_E_TIMEOUT;
}

static void run(struct probe *p, enum probe_step step, bool possible, step_fn fn)
{
    struct probe_one *one = &p->report->steps[step];
    one->outcome = possible && !p->away ? PROBE_RUNNING : PROBE_SKIPPED;
    if (one->outcome == PROBE_SKIPPED)
        return;
    if (p->options->told != NULL)
        p->options->told(p->options->arg, p->report);
    int64_t began_us = clock_mono_us();
    int r = 0;
    if (began_us >= p->deadline_us)
        r = tm_err_retry(&one->err, TM_E_TIMEOUT, "%s: there is no time left for it",
                         probe_step_text(step));
    else if ((r = fn(p, &one->err)) < 0)
        p->away = is_away(&one->err);
    one->took_us = clock_mono_us() - began_us;
    one->outcome = r < 0 ? PROBE_FAILED : PROBE_OK;
    probe_token_look(p);
}

static bool ok(const struct probe *p, enum probe_step step)
{
    return p->report->steps[step].outcome == PROBE_OK;
}

static int64_t median(int64_t times[PROBE_SMALL_COUNT])
{
    for (size_t at = 1; at < PROBE_SMALL_COUNT; at++) {
        int64_t one = times[at];
        size_t to = at;
        for (; to > 0 && times[to - 1] > one; to--)
            times[to] = times[to - 1];
        times[to] = one;
    }
    return times[PROBE_SMALL_COUNT / 2];
}

static int put(struct probe *p, struct tm_err *err)
{
    uint8_t data[PROBE_SMALL_BYTES];
    int64_t times[PROBE_SMALL_COUNT];
    if ((p->st->features & STORAGE_SHARED_PATH) != 0)
        probe_token_put(p); /* early: others look for it */
    for (size_t n = 0; n < PROBE_SMALL_COUNT; n++) {
        fill(data, sizeof(data), p->seed + n);
        p->touched[n] = true;
        times[n] = clock_mono_us();
        int r = storage_put(p->st, p->names[n], slice_of(data, sizeof(data)), err);
        if (r < 0)
            return r;
        times[n] = clock_mono_us() - times[n];
        p->put_count++;
    }
    p->report->put_us = median(times);
    return 0;
}

static int get(struct probe *p, struct tm_err *err)
{
    uint8_t data[PROBE_SMALL_BYTES];
    uint8_t back[PROBE_SMALL_BYTES];
    int64_t times[PROBE_SMALL_COUNT];
    for (size_t n = 0; n < PROBE_SMALL_COUNT; n++) {
        fill(data, sizeof(data), p->seed + n);
        times[n] = clock_mono_us();
        int r = storage_read(p->st, p->names[n], 0, back, sizeof(back), err);
        if (r < 0)
            return r;
        times[n] = clock_mono_us() - times[n];
        if (memcmp(data, back, sizeof(data)) != 0)
            return differs(p->names[n], err);
    }
    p->report->get_us = median(times);
    return 0;
}

static int range(struct probe *p, struct tm_err *err)
{
    uint8_t data[PROBE_SMALL_BYTES];
    uint8_t back[100];
    fill(data, sizeof(data), p->seed);
    int r = storage_read(p->st, p->names[0], 300, back, sizeof(back), err);
    if (r == 0 && memcmp(data + 300, back, sizeof(back)) != 0)
        r = differs(p->names[0], err);
    return r;
}

/* How many objects of this test are listed, up to one more than there can be. */
static int count_listed(struct probe *p, size_t *ret, struct storage_object *ret_last,
                        struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    int r = storage_list(p->st, p->base, NULL, &it, err);
    if (r < 0)
        return r;
    size_t count = 0;
    while (count <= PROBE_NAMES_MAX && (r = storage_iter_next(it, ret_last, err)) > 0)
        count++;
    if (r < 0)
        return r;
    *ret = count;
    return 0;
}

static int list(struct probe *p, struct tm_err *err)
{
    struct storage_object last;
    size_t count = 0;
    int r = count_listed(p, &count, &last, err);
    if (r == 0 && count != p->put_count)
        r = tm_err_set(err, TM_E_CORRUPT, "of %zu objects '%s…' just stored, %zu are listed",
                       p->put_count, p->base, count);
    if (r == 0 && count > 0 && last.size_bytes != PROBE_SMALL_BYTES)
        r = tm_err_set(err, TM_E_CORRUPT, "'%s' is listed with %" PRIu64 " bytes, not %zu",
                       last.name, last.size_bytes, PROBE_SMALL_BYTES);
    return r;
}

static int again(struct probe *p, struct tm_err *err)
{
    uint8_t data[PROBE_SMALL_BYTES];
    bool fenced = (p->st->features & STORAGE_CONDITIONAL_CREATE) != 0;
    fill(data, sizeof(data), ~p->seed);
    int r = storage_put(p->st, p->names[0], slice_of(data, sizeof(data)), err);
    if (r < 0 && r != -TM_E_EXISTS)
        return r;
    if (r == 0 && fenced)
        return tm_err_set(err, TM_E_CONFLICT, "'%s' could be created a second time", p->names[0]);
    p->report->create = fenced ? PROBE_CREATE_FENCED : PROBE_CREATE_LOOKED;
    return 0;
}

static uint64_t rate(size_t bytes, int64_t us)
{
    return (uint64_t)bytes * UINT64_C(1000000) / (uint64_t)TM_MAX(us, INT64_C(1));
}

static int store_bulk(struct probe *p, const uint8_t *data, struct tm_err *err)
{
    TM_CLEANUP(storage_writer_freep) struct storage_writer *w = NULL;
    int r = storage_create(p->st, p->names[PROBE_BULK_NAME], &w, err);
    for (size_t at = 0; r == 0 && at < p->bulk_bytes; at += CHUNK_BYTES)
        r = storage_writer_write(w, data + at, TM_MIN(CHUNK_BYTES, p->bulk_bytes - at), err);
    return r < 0 ? r : storage_writer_commit(w, err);
}

static int upload(struct probe *p, struct tm_err *err)
{
    TM_CLEANUP(freep) uint8_t *data = malloc(p->bulk_bytes);
    if (data == NULL)
        return tm_err_oom(err);
    fill(data, p->bulk_bytes, p->seed);
    p->touched[PROBE_BULK_NAME] = true;
    int64_t began_us = clock_mono_us();
    int r = store_bulk(p, data, err);
    if (r == 0)
        p->report->upload_rate = rate(p->bulk_bytes, clock_mono_us() - began_us);
    return r;
}

static int download(struct probe *p, struct tm_err *err)
{
    TM_CLEANUP(freep) uint8_t *data = malloc(p->bulk_bytes);
    TM_CLEANUP(freep) uint8_t *back = malloc(p->bulk_bytes);
    const char *name = p->names[PROBE_BULK_NAME];
    int r = 0;
    if (data == NULL || back == NULL)
        return tm_err_oom(err);
    int64_t began_us = clock_mono_us();
    for (size_t at = 0; r == 0 && at < p->bulk_bytes; at += CHUNK_BYTES)
        r = storage_read(p->st, name, at, back + at, TM_MIN(CHUNK_BYTES, p->bulk_bytes - at), err);
    if (r < 0)
        return r;
    p->report->download_rate = rate(p->bulk_bytes, clock_mono_us() - began_us);
    fill(data, p->bulk_bytes, p->seed);
    return memcmp(data, back, p->bulk_bytes) == 0 ? 0 : differs(name, err);
}

static int remove_all(struct probe *p, struct tm_err *err)
{
    const char *names[PROBE_NAMES_MAX];
    size_t count = 0;
    for (size_t n = 0; n < PROBE_TOKEN_NAME; n++) {
        if (p->touched[n])
            names[count++] = p->names[n];
    }
    int r = storage_remove(p->st, names, count, err);
    p->kept = r == -TM_E_REFUSED;
    if (p->kept) { /* as the storage was told to by those who run it: no fault of ours or its */
        probe_warn(p->report, "%s", err->msg);
        return 0;
    }
    for (size_t n = 0; r == 0 && n < PROBE_TOKEN_NAME; n++)
        p->touched[n] = false;
    return r;
}

static int gone(struct probe *p, struct tm_err *err)
{
    struct storage_object last;
    size_t count = 0;
    int r = count_listed(p, &count, &last, err);
    if (r == 0 && p->kept && count == 0)
        r = tm_err_set(err, TM_E_CORRUPT,
                       "what the storage refused to remove is not listed any more");
    if (r == 0 && !p->kept && count > 0)
        r = tm_err_set(err, TM_E_CORRUPT, "'%s' is still listed after it was removed", last.name);
    return r;
}

/* ---- around the steps ---- */

static int make_names(struct probe *p, struct tm_err *err)
{
    uint64_t random[2];
    int r = random_bytes(random, sizeof(random), err);
    if (r < 0)
        return r;
    p->seed = random[1];
    (void)snprintf(p->base, sizeof(p->base), PROBE_PREFIX "%.63s-%016" PRIx64 "-", p->options->node,
                   random[0]);
    for (size_t n = 0; n < PROBE_SMALL_COUNT; n++)
        (void)snprintf(p->names[n], sizeof(p->names[n]), "%.400s%zu", p->base, n);
    (void)snprintf(p->names[PROBE_BULK_NAME], sizeof(p->names[0]), "%.400sbulk", p->base);
    (void)snprintf(p->names[PROBE_TOKEN_NAME], sizeof(p->names[0]),
                   PROBE_PREFIX "token-%016" PRIx64 "-%.63s", p->options->id, p->options->node);
    return 0;
}

/* What a test that was killed left. A cluster may be called "probe", too: what lies deeper is its. */
static void remove_stale(struct probe *p)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object object;
    struct tm_err ignored;
    int64_t now_us;
    uint64_t swept;
    bool deeper = false;
    if (storage_now(p->st, &now_us, &ignored) < 0 ||
        storage_list(p->st, PROBE_PREFIX, NULL, &it, &ignored) < 0)
        return;
    for (size_t n = 0; n < STALE_MAX && storage_iter_next(it, &object, &ignored) > 0; n++) {
        const char *name = object.name;
        deeper = deeper || strchr(name + strlen(PROBE_PREFIX), '/') != NULL;
        if (!deeper && object.modified_us < now_us - PROBE_STALE_US &&
            storage_remove(p->st, &name, 1, &ignored) < 0)
            return;
    }
    if (!deeper &&
        storage_sweep_leftovers(p->st, PROBE_PREFIX, now_us - PROBE_STALE_US, &swept, &ignored) < 0)
        return; /* the next test tries again */
}

static void measure_skew(struct probe *p)
{
    struct storage_stats stats;
    struct tm_err ignored;
    int64_t store_us;
    struct probe_report *to = p->report;
    storage_stats(p->st, &stats);
    if (stats.limit_max != 0) {
        to->has_skew = true;
        to->skew_us = stats.skew_us;
    } else if ((p->st->features & STORAGE_SHARED_PATH) != 0) {
        int64_t before_us = clock_real_us();
        to->has_skew = storage_now(p->st, &store_us, &ignored) == 0;
        if (to->has_skew)
            to->skew_us = store_us - (before_us + clock_real_us()) / 2;
    }
    if (to->has_skew && (to->skew_us > PROBE_SKEW_US || to->skew_us < -PROBE_SKEW_US))
        probe_warn(to, "the store's clock is %" PRId64 " s %s this host's",
                   (to->skew_us < 0 ? -to->skew_us : to->skew_us) / USEC_PER_SEC,
                   to->skew_us < 0 ? "behind" : "ahead of");
}

/* One that cannot be removed is there, unless the store says otherwise. */
static bool is_left(struct probe *p, size_t n)
{
    struct storage_object object;
    struct tm_err err;
    bool stored = n < p->put_count || (n == PROBE_BULK_NAME && ok(p, PROBE_UPLOAD));
    if (p->away)
        return stored;
    return storage_stat(p->st, p->names[n], &object, &err) == 0 ||
           (stored && err.code != TM_E_NOT_FOUND);
}

/* What no step has removed, one by one: one that cannot go must not keep the others. A store that does
 * not answer is not asked again. */
static void clean_up(struct probe *p)
{
    struct tm_err err;
    size_t left = 0;
    p->away = false;
    for (size_t n = 0; n < PROBE_NAMES_MAX; n++) {
        const char *name = p->names[n];
        if (!p->touched[n] || (!p->away && storage_remove(p->st, &name, 1, &err) == 0))
            continue;
        p->away = p->away || is_away(&err);
        left += is_left(p, n);
    }
    if (left > 0)
        probe_warn(p->report,
                   "%zu object%s of this test cannot be removed, and lie%s below '" PROBE_PREFIX
                   "' in the storage",
                   left, left == 1 ? "" : "s", left == 1 ? "s" : "");
}

static void run_steps(struct probe *p)
{
    run(p, PROBE_PUT, true, put);
    bool stored = ok(p, PROBE_PUT);
    run(p, PROBE_GET, stored, get);
    run(p, PROBE_RANGE, stored, range);
    run(p, PROBE_LIST, true, list);
    run(p, PROBE_AGAIN, stored, again);
    run(p, PROBE_UPLOAD, stored, upload);
    run(p, PROBE_DOWNLOAD, ok(p, PROBE_UPLOAD), download);
    if (!p->away)
        measure_skew(p);
    run(p, PROBE_REMOVE, p->put_count > 0, remove_all);
    run(p, PROBE_GONE, ok(p, PROBE_REMOVE) && ok(p, PROBE_LIST), gone);
}

static void skip_all(struct probe_report *report)
{
    for (size_t step = PROBE_OPEN; step <= PROBE_STEP_LAST; step++)
        report->steps[step].outcome = PROBE_SKIPPED;
}

static void test(struct probe *p)
{
    struct probe_one *open = &p->report->steps[PROBE_OPEN];
    if (make_names(p, &open->err) < 0) {
        open->outcome = PROBE_FAILED;
        return;
    }
    open->outcome = PROBE_OK;
    run_steps(p);
    if (p->touched[PROBE_TOKEN_NAME] && !p->away)
        probe_token_wait(p);
    if (!p->away)
        remove_stale(p);
    clean_up(p);
}

static struct probe probe_of(const struct probe_options *options, struct probe_report *report)
{
    unsigned ms = options->timeout_ms != 0 ? options->timeout_ms : TIMEOUT_MS_DEFAULT;
    return (struct probe){
        .options = options,
        .report = report,
        .bulk_bytes = options->bulk_bytes != 0 ? options->bulk_bytes : PROBE_BULK_BYTES,
        .deadline_us = clock_mono_us() + (int64_t)ms * USEC_PER_MSEC,
    };
}

void probe_storage(struct storage *st, const struct probe_options *options,
                   struct probe_report *ret)
{
    struct probe p = probe_of(options, ret);
    skip_all(ret);
    p.st = st;
    test(&p);
}

/* ---- opening ---- */

static void url_of_path(const char *path, char *ret, size_t size)
{
    size_t used = (size_t)snprintf(ret, size, "file://");
    for (; *path != '\0' && used + 4 < size; path++) {
        bool plain = isalnum((unsigned char)*path) || strchr("/._-", *path) != NULL;
        used += (size_t)snprintf(ret + used, size - used, plain ? "%c" : "%%%02X",
                                 (unsigned char)*path);
    }
}

/* A path that is not there: its parent, when that is, and *url names it. */
static int open_parent(struct storage_url *url, const struct storage_options *storage,
                       struct probe_report *report, struct storage **ret, struct tm_err *err)
{
    struct storage_url parent = *url;
    size_t len = strlen(parent.path);
    struct tm_err ignored; /* that the path is not there says more */
    char text[3 * STORAGE_URL_MAX];
    while (len > 1 && parent.path[len - 1] == '/')
        parent.path[--len] = '\0';
    char *slash = strrchr(parent.path, '/');
    if (err->code != TM_E_NOT_FOUND || slash == NULL || parent.path[1] == '\0')
        return -(int)err->code;
    slash[slash == parent.path ? 1 : 0] = '\0';
    url_of_path(parent.path, text, sizeof(text));
    if (storage_open(text, storage, ret, &ignored) < 0)
        return -(int)err->code;
    probe_warn(report, "'%s' does not exist: '%s' was tested, where the first backup makes it",
               url->path, parent.path);
    *url = parent;
    return 0;
}

void probe_url(const char *url, const struct storage_options *storage,
               const struct probe_options *options, struct probe_report *ret)
{
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    struct probe p = probe_of(options, ret);
    struct probe_one *open = &ret->steps[PROBE_OPEN];
    struct storage_url parsed = {0};
    skip_all(ret);
    int r = storage_url_parse(url, &parsed, &open->err);
    bool is_path = r == 0 && strcmp(parsed.scheme, "file") == 0;
    if (is_path)
        probe_path_mount(parsed.path, ret);
    open->outcome = PROBE_RUNNING;
    if (options->told != NULL)
        options->told(options->arg, ret);
    if (r == 0 && (r = storage_open(url, storage, &st, &open->err)) < 0 && is_path)
        r = open_parent(&parsed, storage, ret, &st, &open->err);
    if (r < 0) {
        open->outcome = PROBE_FAILED;
        return;
    }
    p.st = st;
    if (is_path)
        probe_path_look(parsed.path, &p);
    test(&p);
}
