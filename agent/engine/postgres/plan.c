/*
 * Happy path: one walk over all that exists, adding sizes; whenever a range is full, what lies
 * before the next key is given out. A large file is cut where the range is full, at a block; a
 * small one goes into the next range as a whole. Memory: the listings of the walk and one key.
 *
 * Unless a size is asked for, ranges grow with what is planned already, up to 128 MiB: then the last
 * ones, which keep only some of the workers busy, are a small share of the whole also where a
 * database is small, without knowing its size beforehand.
 *
 * Failure modes: those of the walk, and what the callback returns. A file that vanished counts
 * nothing.
 */
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#define PLAN_RANGE_BYTES (UINT64_C(128) << 20)
#define PLAN_FIRST_BYTES (UINT64_C(32) << 20)
#define PLAN_TAIL_SHARE  16 /* a range is at most this part of what lies before it */
#define PLAN_RANGE_FILES 16384u
#define PLAN_SPLIT_SHARE 4 /* a file of less than a quarter of a range is not cut */

struct planner {
    struct engine_reader *reader;
    uint64_t range_bytes; /* of the range being filled */
    bool grow;
    uint64_t planned; /* before start */
    uint32_t range_files;
    uint8_t class_byte; /* of the key space that is being planned */
    engine_plan_fn fn;
    void *arg;
    uint8_t start[ENGINE_KEY_MAX];
    size_t start_len;
    uint64_t bytes; /* since start */
    uint32_t files;
};

/* Gives out [start, key) and goes on at key. */
static int cut(struct planner *p, const uint8_t *key, size_t len, struct tm_err *err)
{
    struct engine_key_range range = {slice_of(p->start, p->start_len), slice_of(key, len)};
    if (slice_cmp(range.start, range.end) >= 0)
        return 0; /* nothing lies between */
    int r = p->fn(p->arg, range, p->bytes, err);
    if (r < 0)
        return r;
    memcpy(p->start, key, len);
    p->start_len = len;
    p->planned += p->bytes;
    p->bytes = 0;
    p->files = 0;
    if (p->grow)
        p->range_bytes =
            TM_MIN(TM_MAX(p->planned / PLAN_TAIL_SHARE, PLAN_FIRST_BYTES), PLAN_RANGE_BYTES);
    return 0;
}

static int cut_at(struct planner *p, const struct walk_item *item, uint64_t offset,
                  struct tm_err *err)
{
    uint8_t key[ENGINE_KEY_MAX];
    size_t len;
    int r = walk_item_key(item, offset, key, &len, err);
    return r < 0 ? r : cut(p, key, len, err);
}

static int add_file(struct planner *p, const struct walk_item *item, uint64_t size,
                    struct tm_err *err)
{
    uint64_t offset = 0;
    int r = 0;
    bool overfull = p->bytes > 0 && p->bytes + size > p->range_bytes;
    if (p->files >= p->range_files || (overfull && size <= p->range_bytes / PLAN_SPLIT_SHARE))
        r = cut_at(p, item, 0, err);
    while (r == 0 && p->bytes + (size - offset) > p->range_bytes) {
        uint64_t take = p->range_bytes - TM_MIN(p->bytes, p->range_bytes);
        take -= take % item->unit_bytes;
        if (take == 0 && p->bytes == 0)
            take = item->unit_bytes; /* ranges smaller than a unit: at least get on */
        if (take >= size - offset)
            break;
        offset += take;
        p->bytes += take;
        r = cut_at(p, item, offset, err);
    }
    p->bytes += size - offset;
    p->files++;
    return r;
}

/* No range is of two classes: relation files may be read on a standby, the others may not. */
static int enter_class(struct planner *p, uint8_t class_byte, struct tm_err *err)
{
    static const uint8_t classes[] = {FILES_CLASS_RELATION, FILES_CLASS_CONFIG};
    int r = 0;
    for (size_t n = 0; r == 0 && n < sizeof(classes); n++)
        if (p->class_byte < classes[n] && classes[n] <= class_byte)
            r = cut(p, &classes[n], 1, err);
    p->class_byte = class_byte;
    return r;
}

static int plan_item(void *arg, const struct walk_item *item, struct tm_err *err)
{
    struct planner *p = arg;
    struct stat st;
    uint64_t size = 0;
    if (item->kind == LISTING_FILE) {
        if (fstatat(p->reader->root_fd, item->path, &st, 0) < 0) {
            if (errno == ENOENT)
                return 0;
            return tm_err_errno(err, errno, "cannot stat '%s'", item->path);
        }
        size = (uint64_t)TM_MAX(st.st_size, 0);
    }
    int r = enter_class(p, item->class_byte, err);
    return r < 0 ? r : add_file(p, item, size, err);
}

int pg_plan(struct engine_reader *reader, const struct engine_plan_options *options,
            engine_plan_fn fn, void *arg, struct tm_err *err)
{
    struct planner p = {.reader = reader,
                        .range_bytes = options->range_bytes,
                        .range_files = options->range_files,
                        .fn = fn,
                        .arg = arg};
    struct walk_span span;
    const uint8_t final = FILES_CLASS_FINAL;
    p.grow = p.range_bytes == 0;
    if (p.grow)
        p.range_bytes = PLAN_FIRST_BYTES;
    if (p.range_files == 0)
        p.range_files = PLAN_RANGE_FILES;
    int r = walk_span_init(&span, (struct engine_key_range){SLICE_EMPTY, slice_of(&final, 1)}, err);
    if (r == 0)
        r = walk(reader, &span, plan_item, &p, err);
    if (r == 0)
        r = enter_class(&p, FILES_CLASS_CONFIG, err);
    if (r == 0)
        r = cut(&p, &final, 1, err);
    return r < 0 ? tm_err_prefix(err, "plan of '%s'", reader->instance->data_dir) : 0;
}
