/*
 * The store of secrets: a sorted array in memory, files beside it.
 *
 * Happy path: open → the directory is made, leftovers are removed, every file is read → put: the
 * worker writes the file, then memory follows and `done` is called → remove: the same.
 * Failure modes: a file that is damaged, or was encrypted by another host or with another key, is
 * listed with the reason, and nothing weaker is written beside it; systemd-creds hangs: the start goes
 * on without what it would have opened; a write that fails leaves file and memory as they were; a
 * directory others can read is refused.
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
    enum secret_form form;
    int64_t changed_us;
};

struct secrets {
    struct secrets_options options;
    char dir[PATH_MAX];
    struct secrets_key key;       /* id "" = none was handed over */
    char bad_key[TM_ERR_MSG_MAX]; /* why what was handed over is none; "" = nothing, or it is one */
    struct secret_means means;    /* until_us: for the start */
    enum secret_form form;        /* of new files */
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
    enum secret_form form;
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
                                  .encrypted = e->form != SECRET_FORM_PLAIN,
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
    return s->form != SECRET_FORM_PLAIN;
}

/* ---- changes ---- */

static void change_free(struct change *c)
{
    secret_map_release(&c->map);
    free(c);
}

static int64_t seal_timeout(const struct secrets *s)
{
    return s->options.seal_timeout_us > 0 ? s->options.seal_timeout_us
                                          : (int64_t)SEAL_TIMEOUT_MS * USEC_PER_MSEC;
}

static int write_file(struct change *c, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_SECRET_INIT;
    struct secret_means means = c->secrets->means; /* not changed after the start */
    means.until_us = clock_mono_us() + seal_timeout(c->secrets);
    int r = secret_file_encode(c->name, &c->map, c->form, &means, &bytes, err);
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
    e->form = c->form;
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
    c->form = s->form;
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

/* A form that was meant to be stronger is not given up because its key is away for now. */
static int check_form(const struct secrets *s, struct tm_err *err)
{
    if (s->bad_key[0] != '\0')
        return tm_err_set(err, TM_E_REFUSED, "not stored: %s", s->bad_key);
    for (size_t n = 0; n < s->count; n++) {
        const struct entry *e = s->entries[n];
        if (e->unreadable && e->form > s->form)
            return tm_err_set(
                err, TM_E_REFUSED,
                "not stored: secret '%s' is there encrypted and cannot be opened, and "
                "this would be stored less well; restore its key, or delete it: %s",
                e->name, e->why);
    }
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
    if (r == 0)
        r = check_form(s, err);
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
    if (r == 0 &&
        (r = secret_file_decode(name, buf_slice(&bytes), &s->means, &e->form, &e->map, &err)) < 0)
        (void)tm_err_prefix(&err, "'%s'", path);
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

/* False = there is none, and the next best is to be found. */
static bool find_key(struct secrets *s)
{
    struct tm_err why;
    if (s->options.credentials_dir == NULL)
        return false;
    int r = secrets_key_load(s->options.credentials_dir, &s->key, &why);
    if (r == -TM_E_NOT_FOUND)
        return false;
    if (r < 0) {
        (void)snprintf(s->bad_key, sizeof(s->bad_key), "%s", why.msg);
        return true;
    }
    s->means.key = &s->key;
    s->form = SECRET_FORM_KEY;
    return true;
}

/* Tried once: a key that cannot be used now will not be later in this life. *why: of plain files. */
static void find_form(struct secrets *s, struct tm_err *why)
{
    const char *program = s->options.seal_program != NULL ? s->options.seal_program : SEAL_PROGRAM;
    bool there = program[0] != '\0' && access(program, X_OK) == 0;
    if (there)
        s->means.program = program; /* what was encrypted once may still be opened */
    if (find_key(s))
        return;
    if (!there)
        (void)tm_err_set(why, TM_E_NOT_FOUND, "there is no systemd-creds on this host");
    else if (seal_check(program, s->means.until_us, why) == 0)
        s->form = SECRET_FORM_CREDS;
    else
        (void)tm_err_prefix(why, "systemd-creds cannot encrypt here");
}

static void tell_form(const struct secrets *s, const struct tm_err *why)
{
    struct tm_err refused;
    if (check_form(s, &refused) < 0)
        note(s, LOG_ERR, "secrets that are created now are %s", refused.msg);
    else if (s->form == SECRET_FORM_KEY)
        note(s, LOG_INFO,
             "secrets are stored encrypted with key %s of credential '" SECRETS_KEY_NAME "'",
             s->key.id);
    else if (s->form == SECRET_FORM_CREDS)
        note(s, LOG_INFO, "secrets are stored encrypted with this host's key (systemd-creds)");
    else
        note(s, why->code == TM_E_TIMEOUT ? LOG_WARNING : LOG_NOTICE,
             "secrets are stored in plain files that only this user can read (mode 0600): %s",
             why->msg);
}

/* What lies there in a weaker form than new ones get is told once, not changed: it may be all there is. */
static void tell_weaker(const struct secrets *s)
{
    size_t weaker = 0;
    const char *first = "";
    for (size_t n = s->count; n-- > 0;)
        if (!s->entries[n]->unreadable && s->entries[n]->form < s->form) {
            weaker++;
            first = s->entries[n]->name;
        }
    if (weaker > 0)
        note(s, LOG_NOTICE,
             "%zu secret%s stored before in a weaker form, '%s' first: creating it again encrypts "
             "it as new ones are",
             weaker, weaker == 1 ? " was" : "s were", first);
}

int secrets_open(struct loop *loop, const char *state_dir, const struct secrets_options *options,
                 struct secrets **ret, struct tm_err *err)
{
    TM_CLEANUP(secrets_freep) struct secrets *s = calloc(1, sizeof(*s));
    struct tm_err why = {.code = TM_E_OK};
    if (s == NULL)
        return tm_err_oom(err);
    s->options = *options;
    int r = prepare_dir(s, state_dir, err);
    if (r < 0 || (r = workers_new(loop, "secrets", 1, QUEUE_MAX, s, &s->workers, err)) < 0)
        return r;
    s->means.until_us = clock_mono_us() + seal_timeout(s);
    find_form(s, &why);
    if ((r = load_all(s, err)) < 0)
        return r;
    tell_form(s, &why);
    tell_weaker(s);
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
    secrets_key_release(&s->key); /* the worker has ended */
    free(s);
}
