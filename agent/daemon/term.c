/*
 * The newest term this node has accepted, in <state_dir>/term: "<term> <start>\n". Best effort:
 * losing it costs only the protection against a coordinator whose state was put back to an older
 * copy.
 */
#include "agent/daemon/internal.h"

#include <inttypes.h>
#include <limits.h>

#include "common/fs.h"

#define TERM_FILE_MAX 128

static int term_path(const struct agent *a, char path[PATH_MAX], struct tm_err *err)
{
    return fs_join(path, PATH_MAX, a->config.state_dir, "term", err);
}

int agent_term_load(struct agent *a, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    char path[PATH_MAX];
    const char *line;
    int r, end = 0;

    if ((r = term_path(a, path, err)) < 0)
        return r;
    struct tm_err why = {0};
    if (fs_read_file(path, TERM_FILE_MAX, &text, &why) < 0) {
        if (why.code == TM_E_NOT_FOUND)
            return 0;
        *err = why;
        return -(int)err->code;
    }
    if ((r = buf_cstr(&text, &line, err)) < 0)
        return r;
    if (sscanf(line, "%" SCNu64 " %" SCNu64 "\n%n", &a->seen_term, &a->seen_start, &end) != 2 ||
        (size_t)end != text.len)
        return tm_err_set(err, TM_E_CORRUPT,
                          "'%s' is damaged; remove it if the coordinator was not "
                          "replaced by an older copy",
                          path);
    return 0;
}

void agent_term_store(struct agent *a, uint64_t term, uint64_t start)
{
    char path[PATH_MAX], text[TERM_FILE_MAX];
    struct tm_err err = {0};
    int len = snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 "\n", term, start);

    if (term_path(a, path, &err) < 0 ||
        fs_write_atomic(path, slice_of(text, (size_t)len), 0600, &err) < 0)
        log_warning(&a->lg, NULL, "cannot remember the term: %s", err.msg);
}
