/*
 * Pairs of numbers in state_dir, a text line each:
 *
 *   term     "<term> <start>": the newest term this node has accepted. Best effort: losing it costs
 *            only the protection against a coordinator whose state was put back to an older copy.
 *   writer   "<term> <number>": the newest writer of a log on this node. Not best effort: it is
 *            stored before the writer starts, and a file that cannot be used keeps the agent from
 *            starting, because two writers with one epoch could not be told apart in storage.
 */
#include "agent/daemon/internal.h"

#include <inttypes.h>
#include <limits.h>

#include "common/fs.h"

#define PAIR_FILE_MAX 128

/* Without a file both are left as they are. */
static int pair_load(const struct agent *a, const char *name, const char *advice,
                     uint64_t *ret_first, uint64_t *ret_second, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    char path[PATH_MAX];
    const char *line;
    uint64_t first, second;
    int r, end = 0;

    if ((r = fs_join(path, sizeof path, a->config.state_dir, name, err)) < 0)
        return r;
    struct tm_err why = {0};
    if (fs_read_file(path, PAIR_FILE_MAX, &text, &why) < 0) {
        if (why.code == TM_E_NOT_FOUND)
            return 0;
        *err = why;
        return -(int)err->code;
    }
    if ((r = buf_cstr(&text, &line, err)) < 0)
        return r;
    if (sscanf(line, "%" SCNu64 " %" SCNu64 "\n%n", &first, &second, &end) != 2 ||
        (size_t)end != text.len)
        return tm_err_set(err, TM_E_CORRUPT, "'%s' is damaged; remove it %s", path, advice);
    *ret_first = first;
    *ret_second = second;
    return 0;
}

static int pair_store(const struct agent *a, const char *name, uint64_t first, uint64_t second,
                      struct tm_err *err)
{
    char path[PATH_MAX], text[PAIR_FILE_MAX];
    int len = snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 "\n", first, second);
    int r;

    if ((r = fs_join(path, sizeof path, a->config.state_dir, name, err)) < 0)
        return r;
    return fs_write_atomic(path, slice_of(text, (size_t)len), 0600, err);
}

int agent_term_load(struct agent *a, struct tm_err *err)
{
    return pair_load(a, "term", "if the coordinator was not replaced by an older copy",
                     &a->seen_term, &a->seen_start, err);
}

void agent_term_store(struct agent *a, uint64_t term, uint64_t start)
{
    struct tm_err err = {0};

    if (pair_store(a, "term", term, start, &err) < 0)
        log_warning(&a->lg, NULL, "cannot remember the term: %s", err.msg);
}

#define WRITER_ADVICE "after a restart of the coordinator, which gives a new term"

int agent_writer_load(struct agent *a, struct tm_err *err)
{
    uint64_t number = 0;
    int r = pair_load(a, "writer", WRITER_ADVICE, &a->writer.term, &number, err);

    if (r < 0)
        return r;
    if (number > AGENT_BRAIN_WRITERS_MAX)
        return tm_err_set(err, TM_E_CORRUPT,
                          "'%s/writer' is damaged: %" PRIu64 " is no number of a writer; remove "
                          "it " WRITER_ADVICE,
                          a->config.state_dir, number);
    a->writer.number = (uint32_t)number;
    return 0;
}

int agent_writer_store(struct agent *a, struct agent_writer writer, struct tm_err *err)
{
    return pair_store(a, "writer", writer.term, writer.number, err);
}
