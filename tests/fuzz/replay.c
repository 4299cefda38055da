/*
 * Runs a fuzz target over its stored corpus: the regression test of every input that once mattered.
 *
 *     <target>_fuzz [DIRECTORY | FILE]…     default: tests/corpus/<target>/
 *
 * Prints how many inputs were fed. A crash or a sanitizer's report is the failure; the input being
 * fed is named first when TIDEMARK_FUZZ_VERBOSE is set. The empty input always comes first.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/fs.h"

#define INPUT_MAX ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct replay {
    const char *root;
    bool verbose;
    unsigned long fed;
};

static int feed_file(struct replay *replay, const char *path, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    if (replay->verbose)
        (void)fprintf(stderr, "%s\n", path);
    int r = fs_read_file(path, INPUT_MAX, &bytes, err);
    if (r < 0)
        return r;
    /* a copy of exactly this size: the sanitizer then sees the first byte read beyond it */
    TM_CLEANUP(freep) uint8_t *exact = malloc(bytes.len > 0 ? bytes.len : 1);
    if (exact == NULL)
        return tm_err_oom(err);
    if (bytes.len > 0)
        memcpy(exact, bytes.data, bytes.len);
    (void)LLVMFuzzerTestOneInput(exact, bytes.len);
    replay->fed++;
    return 0;
}

static int on_entry(const struct fs_entry *entry, void *arg, struct tm_err *err)
{
    struct replay *replay = arg;
    char path[4096];
    if (!S_ISREG(entry->st.st_mode))
        return FS_WALK_CONTINUE;
    int r = fs_join(path, sizeof(path), replay->root, entry->path, err);
    return r < 0 ? r : feed_file(replay, path, err);
}

static int feed(struct replay *replay, const char *path, struct tm_err *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
        return feed_file(replay, path, err);
    replay->root = path;
    return fs_walk(path, on_entry, replay, err);
}

/* "build/tests/fuzz/proto/object_fuzz" → "tests/corpus/object" */
static void default_corpus(const char *program, char *ret_path, size_t size)
{
    const char *slash = strrchr(program, '/');
    const char *base = slash != NULL ? slash + 1 : program;
    size_t len = strlen(base);
    if (len > 5 && strcmp(base + len - 5, "_fuzz") == 0)
        len -= 5;
    (void)snprintf(ret_path, size, "tests/corpus/%.*s", (int)len, base);
}

int main(int argc, char **argv)
{
    struct replay replay = {.verbose = getenv("TIDEMARK_FUZZ_VERBOSE") != NULL};
    struct tm_err err;
    char corpus[512];
    int r = 0;

    (void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    replay.fed++;
    default_corpus(argv[0], corpus, sizeof(corpus));
    if (argc < 2)
        r = feed(&replay, corpus, &err);
    if (r == -TM_E_NOT_FOUND && argc < 2)
        r = 0; /* a target without a corpus yet */
    for (int n = 1; n < argc && r == 0; n++)
        r = feed(&replay, argv[n], &err);
    if (r < 0) {
        (void)fprintf(stderr, "replay: %s\n", err.msg);
        return 1;
    }
    (void)printf("%lu inputs\n", replay.fed);
    return 0;
}
