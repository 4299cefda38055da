/*
 * Happy path: the directory is read once, each name classified; relation files become packed
 * numbers, other names go into one text; both are sorted; forks of unlogged relations are dropped;
 * the listing enters the cache, pushing out the least recently used ones nobody holds.
 *
 * Failure modes: the directory vanished (an empty listing: DROP DATABASE is replayed), cannot be
 * read (an error that names it), or holds more than the limits.
 *
 * A directory is read under the cache's lock: two workers that want the same one must not both read
 * it, and reading is short beside what is done with it.
 */
#include "agent/engine/postgres/listing.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

struct entry {
    struct listing listing;
    uint64_t *relations;
    size_t relation_cap;
    uint32_t *names;
    size_t name_cap;
    char *text;
    size_t text_len, text_cap;
    char *dir;
    unsigned refs;
    struct entry *older, *newer; /* by last use */
};

struct listing_cache {
    int root_fd;
    const char *version_dir;
    uint32_t segment_blocks;
    pthread_mutex_t lock;
    struct entry *newest, *oldest;
    size_t bytes;
};

static void entry_free(struct entry *entry)
{
    if (!entry)
        return;
    free(entry->relations);
    free(entry->names);
    free(entry->text);
    free(entry->dir);
    free(entry);
}
TM_DEFINE_FREEP(struct entry, entry_free)

static size_t entry_bytes(const struct entry *entry)
{
    return sizeof(*entry) + entry->relation_cap * sizeof(*entry->relations) +
           entry->name_cap * sizeof(*entry->names) + entry->text_cap;
}

/* ---- sorting ---- */

static void sift_down(uint64_t *values, size_t root, size_t count)
{
    uint64_t value = values[root];
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && values[child] < values[child + 1])
            child++;
        if (value >= values[child])
            break;
        values[root] = values[child];
    }
    values[root] = value;
}

/* Heapsort: qsort would take a second array of the same size. */
void listing_sort_u64(uint64_t *values, size_t count)
{
    for (size_t root = count / 2; root-- > 0;)
        sift_down(values, root, count);
    for (size_t end = count; end > 1;) {
        end--;
        uint64_t largest = values[0];
        values[0] = values[end];
        values[end] = largest;
        sift_down(values, 0, end);
    }
}

static int compare_names(const void *a, const void *b, void *text_arg)
{
    const char *text = text_arg;
    uint32_t offset_a, offset_b;
    memcpy(&offset_a, a, sizeof(offset_a));
    memcpy(&offset_b, b, sizeof(offset_b));
    return strcmp(text + offset_a + 1, text + offset_b + 1);
}

/* ---- filling ---- */

static int grow(void *array_pointer, size_t *cap, size_t need, size_t item_bytes,
                struct tm_err *err)
{
    void **array = array_pointer;
    if (need <= *cap)
        return 0;
    size_t want = TM_MAX(need, TM_MAX(*cap + *cap / 2, (size_t)64));
    void *bigger = realloc(*array, want * item_bytes);
    if (!bigger)
        return tm_err_oom(err);
    *array = bigger;
    *cap = want;
    return 0;
}

static int add_relation(struct entry *entry, struct files_relation relation, struct tm_err *err)
{
    struct listing *listing = &entry->listing;
    if (listing->relation_count == LISTING_FILES_MAX)
        return tm_err_set(err, TM_E_LIMIT, "directory '%s' holds more than %u relation files",
                          entry->dir, LISTING_FILES_MAX);
    int r = grow(&entry->relations, &entry->relation_cap, listing->relation_count + 1,
                 sizeof(*entry->relations), err);
    if (r == 0)
        entry->relations[listing->relation_count++] = files_relation_pack(relation);
    return r;
}

static int add_name(struct entry *entry, enum listing_kind kind, const char *name,
                    struct tm_err *err)
{
    struct listing *listing = &entry->listing;
    size_t len = strlen(name) + 1;
    if (entry->text_len + len + 1 > LISTING_TEXT_MAX)
        return tm_err_set(err, TM_E_LIMIT, "directory '%s' holds too many files", entry->dir);
    int r =
        grow(&entry->names, &entry->name_cap, listing->name_count + 1, sizeof(*entry->names), err);
    if (r == 0)
        r = grow(&entry->text, &entry->text_cap, entry->text_len + len + 1, 1, err);
    if (r < 0)
        return r;
    entry->names[listing->name_count++] = (uint32_t)entry->text_len;
    entry->text[entry->text_len] = (char)kind;
    memcpy(entry->text + entry->text_len + 1, name, len);
    entry->text_len += len + 1;
    return 0;
}

/* What an entry is, links followed; S_IFLNK for a link to nowhere, 0 for what is gone. */
static mode_t type_of(int dir_fd, const struct dirent *dirent, bool *ret_link)
{
    struct stat st = {.st_mode = DTTOIF((mode_t)dirent->d_type)};
    *ret_link = false;
    if (dirent->d_type == DT_UNKNOWN &&
        fstatat(dir_fd, dirent->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (!S_ISLNK(st.st_mode))
        return st.st_mode & S_IFMT;
    *ret_link = true;
    if (fstatat(dir_fd, dirent->d_name, &st, 0) == 0)
        return st.st_mode & S_IFMT;
    /* was the link removed, or does it lead nowhere? */
    return fstatat(dir_fd, dirent->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)
               ? S_IFLNK
               : 0;
}

/* A socket of the server's own: made anew at every start. */
static bool is_server_socket(mode_t type, const char *name)
{
    return type == S_IFSOCK && strncmp(name, ".s.PGSQL.", 9) == 0;
}

static int add_dirent(const struct listing_cache *cache, struct entry *entry,
                      enum files_place place, int dir_fd, const struct dirent *dirent,
                      struct tm_err *err)
{
    const char *name = dirent->d_name;
    struct files_relation relation;
    bool link;
    mode_t type = type_of(dir_fd, dirent, &link);
    if (type == 0 || is_server_socket(type, name))
        return 0;
    enum files_what what = files_classify(place, name, type == S_IFDIR, cache->version_dir);
    if (what != FILES_SKIP && type != S_IFREG && type != S_IFDIR)
        return add_name(entry, LISTING_SPECIAL, name, err);
    switch (what) {
    case FILES_SKIP:
        return 0;
    case FILES_RELATION:
        if (files_relation_parse(name, &relation) &&
            relation.segment < UINT32_MAX / cache->segment_blocks)
            return add_relation(entry, relation, err);
        return add_name(entry, LISTING_FILE, name, err); /* no segment the server could have */
    case FILES_EMPTY_DIR:
        return type == S_IFDIR ? add_name(entry, LISTING_EMPTY_DIR, name, err) : 0;
    case FILES_LINK:
        if (type != S_IFDIR)
            return 0;
        return add_name(entry, link ? LISTING_LINK : LISTING_DIR, name, err);
    case FILES_PLAIN:
        break;
    }
    if (type == S_IFREG)
        return add_name(entry, LISTING_FILE, name, err);
    bool known = !link || (place == FILES_PLACE_ROOT && strcmp(name, "pg_wal") == 0);
    return add_name(entry, known ? LISTING_DIR : LISTING_FOREIGN_DIR, name, err);
}

/* Keeps only the _init fork of relations that have one: they are unlogged, and empty after a crash
 * or a restore. In key order the forks of one relation are adjacent, _init last. */
static void drop_unlogged(struct entry *entry)
{
    size_t kept = 0, count = entry->listing.relation_count;
    for (size_t from = 0, to; from < count; from = to) {
        uint32_t node = (uint32_t)(entry->relations[from] >> 32);
        bool unlogged = false;
        for (to = from; to < count && (uint32_t)(entry->relations[to] >> 32) == node; to++)
            unlogged |= files_relation_unpack(entry->relations[to]).fork == FORK_INIT;
        for (size_t n = from; n < to; n++)
            if (!unlogged || files_relation_unpack(entry->relations[n]).fork == FORK_INIT)
                entry->relations[kept++] = entry->relations[n];
    }
    entry->listing.relation_count = kept;
}

static void finish(struct entry *entry)
{
    struct listing *listing = &entry->listing;
    listing_sort_u64(entry->relations, listing->relation_count);
    drop_unlogged(entry);
    if (listing->name_count > 1)
        qsort_r(entry->names, listing->name_count, sizeof(*entry->names), compare_names,
                entry->text);
    listing->relations = entry->relations;
    listing->names = entry->names;
    listing->text = entry->text;
}

static int read_directory(const struct listing_cache *cache, struct entry *entry,
                          struct tm_err *err)
{
    enum files_place place = files_place_of(entry->dir, cache->version_dir);
    const char *shown = entry->dir[0] ? entry->dir : ".";
    int fd = openat(cache->root_fd, shown, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT)
            return 0;
        return tm_err_errno(err, errno, "cannot open directory '%s'", shown);
    }
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int r = tm_err_errno(err, errno, "cannot read directory '%s'", shown);
        (void)close(fd);
        return r;
    }
    int r = 0;
    while (r == 0) {
        errno = 0;
        const struct dirent *dirent = readdir(dir);
        if (!dirent) {
            if (errno != 0 && errno != ENOENT)
                r = tm_err_errno(err, errno, "cannot read directory '%s'", shown);
            break;
        }
        if (strcmp(dirent->d_name, ".") != 0 && strcmp(dirent->d_name, "..") != 0)
            r = add_dirent(cache, entry, place, fd, dirent, err);
    }
    (void)closedir(dir);
    if (r == 0)
        finish(entry);
    return r;
}

/* ---- the cache ---- */

int listing_cache_new(int root_fd, const char *version_dir, uint32_t segment_blocks,
                      struct listing_cache **ret, struct tm_err *err)
{
    struct listing_cache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return tm_err_oom(err);
    cache->root_fd = root_fd;
    cache->version_dir = version_dir;
    cache->segment_blocks = segment_blocks;
    pthread_mutex_init(&cache->lock, NULL);
    *ret = cache;
    return 0;
}

static void unlink_entry(struct listing_cache *cache, struct entry *entry)
{
    if (entry->older)
        entry->older->newer = entry->newer;
    else
        cache->oldest = entry->newer;
    if (entry->newer)
        entry->newer->older = entry->older;
    else
        cache->newest = entry->older;
    entry->older = entry->newer = NULL;
    cache->bytes -= entry_bytes(entry);
}

static void link_newest(struct listing_cache *cache, struct entry *entry)
{
    entry->older = cache->newest;
    if (cache->newest)
        cache->newest->newer = entry;
    else
        cache->oldest = entry;
    cache->newest = entry;
    cache->bytes += entry_bytes(entry);
}

static void evict(struct listing_cache *cache)
{
    struct entry *next;
    for (struct entry *entry = cache->oldest; entry && cache->bytes > LISTING_CACHE_BYTES;
         entry = next) {
        next = entry->newer;
        if (entry->refs > 0)
            continue;
        unlink_entry(cache, entry);
        entry_free(entry);
    }
}

void listing_cache_free(struct listing_cache *cache)
{
    if (!cache)
        return;
    while (cache->oldest) {
        struct entry *entry = cache->oldest;
        unlink_entry(cache, entry);
        entry_free(entry);
    }
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

static int load_locked(struct listing_cache *cache, const char *dir, struct entry **ret,
                       struct tm_err *err)
{
    TM_CLEANUP(entry_freep) struct entry *entry = calloc(1, sizeof(*entry));
    if (!entry || !(entry->dir = strdup(dir)))
        return tm_err_oom(err);
    int r = read_directory(cache, entry, err);
    if (r < 0)
        return r;
    *ret = TM_TAKE(entry);
    return 0;
}

int listing_get(struct listing_cache *cache, const char *dir, const struct listing **ret,
                struct tm_err *err)
{
    int r = 0;
    pthread_mutex_lock(&cache->lock);
    struct entry *entry = cache->newest;
    while (entry && strcmp(entry->dir, dir) != 0)
        entry = entry->older;
    if (entry)
        unlink_entry(cache, entry);
    else
        r = load_locked(cache, dir, &entry, err);
    if (r == 0) {
        entry->refs++;
        link_newest(cache, entry);
        evict(cache);
        *ret = &entry->listing;
    }
    pthread_mutex_unlock(&cache->lock);
    return r;
}

void listing_put(struct listing_cache *cache, const struct listing *listing)
{
    if (!listing)
        return;
    pthread_mutex_lock(&cache->lock);
    /* entries are ours: find it, rather than cast away const */
    struct entry *entry = cache->newest;
    while (entry && &entry->listing != listing)
        entry = entry->older;
    if (entry)
        entry->refs--;
    evict(cache);
    pthread_mutex_unlock(&cache->lock);
}
