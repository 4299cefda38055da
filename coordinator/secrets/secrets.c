/*
 * The store of secrets: a sorted array in memory, files beside it.
 *
 * Happy path: open → the directory is made, leftovers are removed, every file is read → put: the
 * worker writes the file, then memory follows and `done` is called → remove: the same.
 * Failure modes: a file that is damaged, or was encrypted by another host, is listed with the reason;
 * a write that fails leaves file and memory as they were; a directory others can read is refused.
 */
#include "coordinator/secrets/secrets.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fs.h"
#include "common/workers.h"
#include "coordinator/secrets/file.h"
#include "coordinator/secrets/seal.h"
#include "proto/spec/spec.h"

#define QUEUE_MAX 64
#define TEMPORARY ".tmp-" /* in what fs_write_atomic writes before it renames */

struct entry {
    char name[RESOURCE_NAME_MAX + 1];
    struct secret_map map;
    bool unreadable;
    char why[TM_ERR_MSG_MAX];
    bool encrypted;
    int64_t changed_us;
};

struct secrets {
    struct secrets_options options;
    char dir[PATH_MAX];
    const char *program; /* to open what is encrypted; NULL = none */
    bool sealed;         /* new files are encrypted */
    struct workers *workers;
    struct entry **entries; /* sorted by name */
    size_t count;
};

/* One file to be written or removed. */
struct change {
    struct work work;
    struct secrets *secrets;
    uint64_t cmd;
    bool remove;
    char name[RESOURCE_NAME_MAX + 1];
    char path[PATH_MAX];
    const char *program; /* NULL = plain */
    struct secret_map map;
    int result;
    struct tm_err err;
};

static void note(const struct secrets *s, int priority, const char *fmt, ...) TM_PRINTF(3, 4);
static void note(const struct secrets *s, int priority, const char *fmt, ...)
{
    char text[TM_ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (s->options.note != NULL)
        s->options.note(s->options.arg, priority, text);
}

/* ---- memory ---- */

static void entry_free(struct entry *e)
{
    secret_map_release(&e->map);
    free(e);
}

static size_t place(const struct secrets *s, const char *name, bool *ret_found)
{
    size_t at = 0;
    int order = 1;
    while (at < s->count && (order = strcmp(s->entries[at]->name, name)) < 0)
        at++;
    *ret_found = at < s->count && order == 0;
    return at;
}

static struct entry *entry_get(struct secrets *s, const char *name, struct tm_err *err)
{
    bool found;
    size_t at = place(s, name, &found);
    if (found)
        return s->entries[at];
    if (s->count == SECRETS_MAX) {
        (void)tm_err_set(err, TM_E_LIMIT, "there are %d secrets already", SECRETS_MAX);
        return NULL;
    }
    struct entry **grown = reallocarray(s->entries, s->count + 1, sizeof(struct entry *));
    if (grown == NULL) {
        (void)tm_err_oom(err);
        return NULL;
    }
    s->entries = grown;
    struct entry *fresh = calloc(1, sizeof(*fresh));
    if (fresh == NULL) {
        (void)tm_err_oom(err);
        return NULL;
    }
    memmove(grown + at + 1, grown + at, (s->count - at) * sizeof(struct entry *));
    grown[at] = fresh;
    s->count++;
    (void)snprintf(fresh->name, sizeof(fresh->name), "%s", name);
    return fresh;
}

static void entry_drop(struct secrets *s, const char *name)
{
    bool found;
    size_t at = place(s, name, &found);
    if (!found)
        return;
    entry_free(s->entries[at]);
    s->count--;
    memmove(s->entries + at, s->entries + at + 1, (s->count - at) * sizeof(struct entry *));
}

static bool maps_equal(const struct secret_map *a, const struct secret_map *b)
{
    if (a->count != b->count)
        return false;
    for (size_t n = 0; n < a->count; n++)
        if (strcmp(a->items[n].name, b->items[n].name) != 0 ||
            !slice_eq(secret_slice(&a->items[n].value), secret_slice(&b->items[n].value)))
            return false;
    return true;
}

static void fill(const struct entry *e, struct secrets_entry *ret)
{
    *ret = (struct secrets_entry){.name = e->name,
                                  .map = &e->map,
                                  .why = e->unreadable ? e->why : NULL,
                                  .encrypted = e->encrypted,
                                  .changed_us = e->changed_us};
}

bool secrets_find(const struct secrets *s, const char *name, struct secrets_entry *ret)
{
    bool found;
    size_t at = place(s, name, &found);
    if (found)
        fill(s->entries[at], ret);
    return found;
}

bool secrets_next(const struct secrets *s, size_t *cursor, struct secrets_entry *ret)
{
    if (*cursor >= s->count)
        return false;
    fill(s->entries[(*cursor)++], ret);
    return true;
}

bool secrets_sealed(const struct secrets *s)
{
    return s->sealed;
}

/* ---- changes ---- */

static void change_free(struct change *c)
{
    secret_map_release(&c->map);
    free(c);
}

static int write_file(struct change *c, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_SECRET_INIT;
    int r = secret_file_encode(c->name, &c->map, c->program, &bytes, err);
    return r < 0 ? r : fs_write_atomic(c->path, buf_slice(&bytes), 0600, err);
}

static int remove_file(const struct change *c, struct tm_err *err)
{
    if (unlink(c->path) < 0 && errno != ENOENT)
        return tm_err_errno(err, errno, "cannot remove '%s'", c->path);
    return fs_sync_parent(c->path, err);
}

/* In the worker. */
static void change_run(struct work *w)
{
    struct change *c = LIST_ENTRY(w, struct change, work);
    c->result = c->remove ? remove_file(c, &c->err) : write_file(c, &c->err);
}

/* Takes the new value over. */
static int keep(struct secrets *s, struct change *c, enum secrets_outcome *ret, struct tm_err *err)
{
    bool known;
    (void)place(s, c->name, &known);
    struct entry *e = entry_get(s, c->name, err);
    if (e == NULL)
        return -(int)err->code;
    bool same = known && !e->unreadable && maps_equal(&e->map, &c->map);
    *ret = !known ? SECRETS_CREATED : same ? SECRETS_UNCHANGED : SECRETS_CONFIGURED;
    secret_map_release(&e->map);
    e->map = c->map;
    c->map = SECRET_MAP_INIT;
    e->unreadable = false;
    e->encrypted = c->program != NULL;
    e->changed_us = clock_real_us();
    return 0;
}

static void change_done(struct work *w, void *ctx)
{
    struct change *c = LIST_ENTRY(w, struct change, work);
    struct secrets *s = ctx;
    enum secrets_outcome outcome = SECRETS_DELETED;
    if (c->result == 0 && c->remove)
        entry_drop(s, c->name);
    else if (c->result == 0)
        c->result = keep(s, c, &outcome, &c->err);
    if (c->result < 0)
        (void)tm_err_prefix(&c->err, "secret/%s", c->name);
    s->options.done(s->options.arg, c->cmd, c->name, outcome, c->result < 0 ? &c->err : NULL);
    change_free(c);
}

static void change_discard(struct work *w)
{
    change_free(LIST_ENTRY(w, struct change, work));
}

static int submit(struct secrets *s, const char *name, struct secret_map *map, uint64_t cmd,
                  struct tm_err *err)
{
    struct change *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return tm_err_oom(err);
    c->work = (struct work){.run = change_run, .done = change_done, .discard = change_discard};
    c->secrets = s;
    c->cmd = cmd;
    c->remove = map == NULL;
    c->program = s->sealed ? s->program : NULL;
    (void)snprintf(c->name, sizeof(c->name), "%s", name);
    int r = fs_join(c->path, sizeof(c->path), s->dir, name, err);
    if (r == 0 && map != NULL) {
        c->map = *map;
        *map = SECRET_MAP_INIT;
    }
    if (r == 0)
        r = workers_submit(s->workers, &c->work, err);
    if (r < 0)
        change_free(c);
    return r;
}

static int check_map(const struct secret_map *map, struct tm_err *err)
{
    size_t bytes = 0;
    if (map->count == 0)
        return tm_err_set(err, TM_E_INVALID, "a secret without a key holds nothing");
    for (size_t n = 0; n < map->count; n++) {
        if (map->items[n].value.len == 0)
            return tm_err_set(err, TM_E_INVALID, "key '%s' has no value", map->items[n].name);
        bytes += strlen(map->items[n].name) + map->items[n].value.len;
    }
    if (bytes > SECRETS_BYTES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "%zu bytes are too many for one secret, %zu is the most",
                          bytes, SECRETS_BYTES_MAX);
    return 0;
}

int secrets_put(struct secrets *s, const char *name, struct secret_map *map, uint64_t cmd,
                struct tm_err *err)
{
    bool known = false;
    int r = resource_name_check("name", name, err);
    if (r == 0 && strstr(name, TEMPORARY) != NULL)
        r = tm_err_set(err, TM_E_INVALID, "name '%s' must not contain '" TEMPORARY "'", name);
    if (r == 0)
        r = check_map(map, err);
    if (r == 0)
        (void)place(s, name, &known);
    if (r == 0 && !known && s->count == SECRETS_MAX)
        r = tm_err_set(err, TM_E_LIMIT, "there are %d secrets already", SECRETS_MAX);
    if (r == 0)
        r = submit(s, name, map, cmd, err);
    secret_map_release(map);
    return r;
}

int secrets_remove(struct secrets *s, const char *name, uint64_t cmd, struct tm_err *err)
{
    bool known;
    (void)place(s, name, &known);
    if (!known)
        return tm_err_set(err, TM_E_NOT_FOUND, "secret/%.64s: not found", name);
    return submit(s, name, NULL, cmd, err);
}

/* ---- start ---- */

static void load_one(struct secrets *s, const char *name, struct entry *e)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_SECRET_INIT;
    char path[PATH_MAX];
    struct stat st;
    struct tm_err err;
    int r = fs_join(path, sizeof(path), s->dir, name, &err);
    if (r == 0 && stat(path, &st) == 0)
        e->changed_us = (int64_t)st.st_mtim.tv_sec * USEC_PER_SEC + st.st_mtim.tv_nsec / 1000;
    if (r == 0)
        r = fs_read_file(path, SECRET_FILE_MAX, &bytes, &err);
    if (r == 0)
        r = secret_file_decode(name, buf_slice(&bytes), s->program, &e->encrypted, &e->map, &err);
    if (r == 0)
        return;
    e->unreadable = true;
    (void)snprintf(e->why, sizeof(e->why), "%s", err.msg);
    note(s, LOG_ERR, "secret '%s' cannot be read, jobs that need it fail: %s", name, err.msg);
}

static int take_name(struct secrets *s, const char *name, struct tm_err *err)
{
    struct tm_err why;
    char path[PATH_MAX];
    int r = fs_join(path, sizeof(path), s->dir, name, err);
    if (r < 0)
        return r;
    if (strstr(name, TEMPORARY) !=
        NULL) { /* of a write that a crash ended: never a secret's name */
        if (unlink(path) < 0 && errno != ENOENT)
            return tm_err_errno(err, errno, "cannot remove '%s'", path);
        return 0;
    }
    if (resource_name_check("name", name, &why) < 0) {
        note(s, LOG_WARNING, "'%s' is no secret's file and is left alone", path);
        return 0;
    }
    if (s->count == SECRETS_MAX) { /* copied in by somebody: no reason not to start */
        note(s, LOG_WARNING, "'%s' is left alone: there are %d secrets already", path, SECRETS_MAX);
        return 0;
    }
    struct entry *e = entry_get(s, name, err);
    if (e == NULL)
        return -(int)err->code;
    load_one(s, name, e);
    return 0;
}

static void closedirp(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static int load_all(struct secrets *s, struct tm_err *err)
{
    TM_CLEANUP(closedirp) DIR *dir = opendir(s->dir);
    if (dir == NULL)
        return tm_err_errno(err, errno, "cannot open '%s'", s->dir);
    for (;;) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (d == NULL)
            return errno == 0 ? 0 : tm_err_errno(err, errno, "cannot read '%s'", s->dir);
        int r = d->d_name[0] == '.' ? 0 : take_name(s, d->d_name, err);
        if (r < 0)
            return r;
    }
}

static int prepare_dir(struct secrets *s, const char *state_dir, struct tm_err *err)
{
    struct stat st;
    int r = fs_join(s->dir, sizeof(s->dir), state_dir, "secrets", err);
    if (r < 0 || (r = fs_mkdir_p(s->dir, 0700, err)) < 0)
        return r;
    if (lstat(s->dir, &st) < 0)
        return tm_err_errno(err, errno, "cannot stat '%s'", s->dir);
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return tm_err_set(err, TM_E_PERMISSION, "'%s' is open to others, run: chmod 700 '%s'",
                          s->dir, s->dir);
    return 0;
}

/* Tried once: a key that cannot be used now will not be later in this life. */
static void find_seal(struct secrets *s)
{
    struct tm_err why;
    const char *program = s->options.seal_program != NULL ? s->options.seal_program : SEAL_PROGRAM;
    if (program[0] == '\0' || access(program, X_OK) < 0) {
        note(s, LOG_NOTICE,
             "secrets are stored in plain files that only this user can read (mode 0600): there is "
             "no systemd-creds on this host");
        return;
    }
    s->program = program; /* what was encrypted once may still be opened */
    s->sealed = seal_check(program, &why) == 0;
    if (s->sealed)
        note(s, LOG_INFO, "secrets are stored encrypted with this host's key (systemd-creds)");
    else
        note(s, LOG_NOTICE,
             "secrets are stored in plain files that only this user can read (mode 0600): "
             "systemd-creds cannot encrypt here: %s",
             why.msg);
}

int secrets_open(struct loop *loop, const char *state_dir, const struct secrets_options *options,
                 struct secrets **ret, struct tm_err *err)
{
    TM_CLEANUP(secrets_freep) struct secrets *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return tm_err_oom(err);
    s->options = *options;
    int r = prepare_dir(s, state_dir, err);
    if (r < 0 || (r = workers_new(loop, "secrets", 1, QUEUE_MAX, s, &s->workers, err)) < 0)
        return r;
    find_seal(s);
    if ((r = load_all(s, err)) < 0)
        return r;
    *ret = TM_TAKE(s);
    return 0;
}

void secrets_free(struct secrets *s)
{
    if (s == NULL)
        return;
    workers_free(s->workers);
    for (size_t n = 0; n < s->count; n++)
        entry_free(s->entries[n]);
    free(s->entries);
    free(s);
}
