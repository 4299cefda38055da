/*
 * Storage by hand, for integration tests: the contract suite over a store that a URL names, or one
 * operation on it.
 *
 *   storage_tool [options] URL contract [TITLE [PART-OF-A-TEST'S-NAME]]
 *   storage_tool [options] URL put NAME BYTES SEED [seal]   an object of bytes that the seed makes
 *   storage_tool [options] URL get NAME BYTES SEED          … and whether it holds exactly those
 *   storage_tool [options] URL fill PREFIX SUFFIX COUNT     that many objects of a byte, PREFIX%08xSUFFIX
 *   storage_tool [options] URL stat NAME | list [PREFIX] | remove NAME… | discard NAME | sweep
 *
 *   --secret FILE            credentials, as secret_map_load reads them
 *   --timeout MS             deadline of one call
 *   --no-conditional-create  the store has none
 *   --no-leftovers           unfinished uploads of the store cannot be swept
 *
 * Fails with status 1 and the error's text on stderr, "(retryable)" behind it when it is. get fails
 * with 3 when the bytes are others than were put: nothing may ever make it so.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "common/parse.h"
#include "common/secret_map.h"
#include "tests/lib/storage_contract.h"
#include "tests/lib/storage_pattern.h"

struct tool {
    struct storage_contract contract;
    struct storage_options options;
    struct storage *st;
    struct tm_err err;
};

static int complain(const struct tool *t)
{
    (void)fprintf(stderr, "%s%s\n", t->err.msg, t->err.retryable ? " (retryable)" : "");
    return 1;
}

static uint64_t number(const char *text)
{
    uint64_t value;
    struct tm_err err;
    if (parse_u64(text, &value, &err) == 0)
        return value;
    (void)fprintf(stderr, "storage_tool: '%s': %s\n", text, err.msg);
    exit(2);
}

static int tool_put(struct tool *t, int argc, char **argv)
{
    bool seals = argc == 4 && strcmp(argv[3], "seal") == 0;
    if (argc != 3 && !seals)
        return 2;
    int r = pattern_put(t->st, argv[0], number(argv[2]), (size_t)number(argv[1]), seals, &t->err);
    return r < 0 ? complain(t) : 0;
}

static int tool_get(struct tool *t, int argc, char **argv)
{
    if (argc != 3)
        return 2;
    struct storage_object object;
    uint64_t size = number(argv[1]);
    const size_t piece = 5000000;
    if (storage_stat(t->st, argv[0], &object, &t->err) < 0)
        return complain(t);
    if (object.size_bytes != size) {
        (void)fprintf(stderr, "'%s' has %llu bytes\n", argv[0],
                      (unsigned long long)object.size_bytes);
        return 3;
    }
    for (uint64_t at = 0; at < size; at += piece) {
        size_t len = size - at < piece ? (size_t)(size - at) : piece;
        int r = pattern_differs(t->st, argv[0], number(argv[2]), at, len, &t->err);
        if (r < 0)
            return complain(t);
        if (r > 0) {
            (void)fprintf(stderr, "'%s' holds other bytes than were put\n", argv[0]);
            return 3;
        }
    }
    return 0;
}

#define FILL_HANDS 16

struct fill {
    struct tool *t;
    const char *prefix, *suffix;
    uint64_t count;
    _Atomic uint64_t next;
    _Atomic bool failed;
};

static void *fill_hand(void *arg)
{
    struct fill *fill = arg;
    uint64_t n;
    while (!fill->failed && (n = fill->next++) < fill->count) {
        char name[STORAGE_NAME_MAX + 1];
        struct tm_err err;
        (void)snprintf(name, sizeof(name), "%s%08llx%s", fill->prefix, (unsigned long long)n,
                       fill->suffix);
        if (storage_put(fill->t->st, name, slice_of("x", 1), &err) < 0 &&
            !atomic_exchange(&fill->failed, true))
            fill->t->err = err;
    }
    return NULL;
}

static int tool_fill(struct tool *t, int argc, char **argv)
{
    if (argc != 3)
        return 2;
    struct fill fill = {.t = t, .prefix = argv[0], .suffix = argv[1], .count = number(argv[2])};
    pthread_t hands[FILL_HANDS];
    size_t started = 0;
    while (started < FILL_HANDS && pthread_create(&hands[started], NULL, fill_hand, &fill) == 0)
        started++;
    for (size_t n = 0; n < started; n++)
        (void)pthread_join(hands[n], NULL);
    return fill.failed ? complain(t) : started == 0;
}

static int tool_stat(struct tool *t, int argc, char **argv)
{
    struct storage_object object;
    if (argc != 1)
        return 2;
    if (storage_stat(t->st, argv[0], &object, &t->err) < 0)
        return complain(t);
    printf("%s %llu\n", object.name, (unsigned long long)object.size_bytes);
    return 0;
}

static int tool_list(struct tool *t, int argc, char **argv)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object object;
    if (storage_list(t->st, argc > 0 ? argv[0] : "", NULL, &it, &t->err) < 0)
        return complain(t);
    int r;
    while ((r = storage_iter_next(it, &object, &t->err)) > 0)
        printf("%s %llu\n", object.name, (unsigned long long)object.size_bytes);
    return r < 0 ? complain(t) : 0;
}

static int tool_remove(struct tool *t, int argc, char **argv)
{
    return storage_remove(t->st, (const char *const *)argv, (size_t)argc, &t->err) < 0 ? complain(t)
                                                                                       : 0;
}

static int tool_discard(struct tool *t, int argc, char **argv)
{
    if (argc != 1)
        return 2;
    return storage_discard(t->st, argv[0], &t->err) < 0 ? complain(t) : 0;
}

static int tool_sweep(struct tool *t, int argc, char **argv)
{
    uint64_t count;
    (void)argc;
    (void)argv;
    if (storage_sweep_leftovers(t->st, "", INT64_MAX, &count, &t->err) < 0)
        return complain(t);
    printf("%llu\n", (unsigned long long)count);
    return 0;
}

static const struct {
    const char *verb;
    int (*run)(struct tool *, int argc, char **argv);
} verbs[] = {
    {"put", tool_put},   {"get", tool_get},       {"fill", tool_fill},       {"stat", tool_stat},
    {"list", tool_list}, {"remove", tool_remove}, {"discard", tool_discard}, {"sweep", tool_sweep},
};

static int usage(void)
{
    (void)fprintf(stderr, "usage: see the top of tests/integration/storage_tool.c\n");
    return 2;
}

/* The options before URL; returns how many words they are, or -1. */
static int read_options(struct tool *t, struct secret_map *secret, int argc, char **argv)
{
    int at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "--no-conditional-create") == 0) {
            t->contract.no_conditional_create = true;
        } else if (strcmp(argv[at], "--no-leftovers") == 0) {
            t->contract.no_leftovers = true;
        } else if (strcmp(argv[at], "--timeout") == 0 && at + 1 < argc) {
            t->options.io_timeout_ms = (unsigned)number(argv[++at]);
        } else if (strcmp(argv[at], "--secret") == 0 && at + 1 < argc) {
            if (secret_map_load(argv[++at], secret, &t->err) < 0) {
                (void)complain(t);
                exit(1);
            }
            t->options.secret = t->contract.secret = secret;
        } else {
            return -1;
        }
    }
    return at;
}

int main(int argc, char **argv)
{
    TM_CLEANUP(secret_map_release) struct secret_map secret = SECRET_MAP_INIT;
    struct tool t = {.options.create_root = true};
    int at = read_options(&t, &secret, argc, argv);
    if (at < 0 || argc - at < 2)
        return usage();
    t.contract.url = argv[at];
    const char *verb = argv[at + 1];
    argv += at + 2;
    argc -= at + 2;
    if (strcmp(verb, "contract") == 0) {
        t.contract.only = argc > 1 ? argv[1] : NULL;
        return storage_contract_run(argc > 0 ? argv[0] : "store", &t.contract) == 0 ? 0 : 1;
    }
    for (size_t i = 0; i < TM_ARRAY_LEN(verbs); i++) {
        if (strcmp(verb, verbs[i].verb) != 0)
            continue;
        if (storage_open(t.contract.url, &t.options, &t.st, &t.err) < 0)
            return complain(&t);
        int status = verbs[i].run(&t, argc, argv);
        storage_free(t.st);
        return status == 2 ? usage() : status;
    }
    return usage();
}
