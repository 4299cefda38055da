/*
 * One page of what a storage holds: instances in the order in which storage lists them; of each the
 * newest intents, then the backups, oldest first.
 *
 * Happy path: the walk passes over everything up to `after`, adds items until the page is full, and says
 * where it stopped. Failure modes: what has no identity.mpk is no instance and is passed over, and one that
 * is damaged counts as one; an intent that cannot be read is told without its resource; one that a newer one
 * replaces in this very moment is looked up again; storage that does not answer is an error.
 */
#include "agent/stored/internal.h"
#include "proto/repo/intents.h"

/* Where in an instance a page ended. Places ascend: who asks demands it, or a page could be asked for for ever. */
#define ROOM_INTENTS "a"
#define ROOM_BACKUPS "b"

#define REPLACED_MAX 4 /* times that words are looked up again */

struct walk {
    struct page page;
    const struct msg_read *want;
    /* `after`, taken apart: these are passed over up to and with `last` */
    char clusters[WIRE_AFTER_MAX + 1];
    const char *parts[5]; /* cluster, tenant, incarnation, room, uid or backup id; "" = none */
    bool full;
};

struct msg_stored *page_item(struct page *p, struct tm_err *err)
{
    if (p->out->items == NULL)
        p->out->items = codec_arena_array(p->arena, WIRE_PAGE_ITEMS, sizeof(*p->out->items), err);
    if (p->out->items == NULL)
        return NULL;
    struct msg_stored *item = &p->out->items[p->out->items_count++];
    (void)snprintf(item->cluster, sizeof(item->cluster), "%s", p->scope.cluster);
    (void)snprintf(item->tenant, sizeof(item->tenant), "%s", p->scope.tenant);
    (void)snprintf(item->incarnation, sizeof(item->incarnation), "%.63s", p->scope.incarnation);
    p->bytes += 256;
    return item;
}

void page_term(struct page *p, uint64_t term)
{
    p->out->term = TM_MAX(p->out->term, term);
}

/* The page ends behind this one. */
static bool ends_behind(struct walk *w, const char *room, const char *name)
{
    const struct page *p = &w->page;
    if (p->out->items_count < WIRE_PAGE_ITEMS && p->bytes < WIRE_PAGE_BYTES)
        return false;
    (void)snprintf(p->out->after, sizeof(p->out->after), "%s/%s/%s/%s/%s", p->scope.cluster,
                   p->scope.tenant, p->scope.incarnation, room, name);
    w->full = true;
    return true;
}

/* The instance is the one in which the page before ended. */
static bool goes_on_here(const struct walk *w)
{
    const struct repo_scope *scope = &w->page.scope;
    return strcmp(scope->cluster, w->parts[0]) == 0 && strcmp(scope->tenant, w->parts[1]) == 0 &&
           strcmp(scope->incarnation, w->parts[2]) == 0;
}

/* ---- of one instance ---- */

/* Without its words a backup would be shown under another name, and as a resource of its own for ever. */
static int read_intent(struct page *p, struct name_parts *parts, struct codec_arena *arena,
                       struct intent *ret, struct tm_err *err)
{
    int r = -(int)TM_E_NOT_FOUND;
    for (int tries = 0; tries < REPLACED_MAX; tries++) {
        struct rel_name rel = names_rel_intent(parts->uid, parts->epoch);
        r = record_get(p->scratch, p->st, names_full(&p->scope, rel.s).s, OBJECT_INTENT,
                       &intent_codec, arena, ret, err);
        if (r == 0 || err->code != TM_E_NOT_FOUND)
            return r;
        r = intents_newest(p->st, &p->scope, parts->uid, parts, err);
        if (r < 0)
            return r;
    }
    return r;
}

static int add_intent(struct walk *w, struct name_parts *parts, struct tm_err *err)
{
    struct page *p = &w->page;
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct intent intent = {.resource = SLICE_EMPTY};
    int r = read_intent(p, parts, &arena, &intent, err);
    if (r < 0 && err->code == TM_E_NOT_FOUND)
        return 0; /* it was removed */
    if (r < 0 && err->code != TM_E_CORRUPT && err->code != TM_E_UNSUPPORTED)
        return r;
    if (intent.resource.len > WIRE_INTENT_MAX)
        intent.resource = SLICE_EMPTY;
    struct msg_stored *item = page_item(p, err);
    if (item == NULL)
        return -(int)err->code;
    item->intent = codec_arena_alloc(p->arena, sizeof(*item->intent), err);
    if (item->intent == NULL ||
        codec_arena_bytes(p->arena, intent.resource, &item->intent->resource, err) < 0)
        return -(int)err->code;
    struct msg_intent *to = item->intent;
    memcpy(to->cluster, item->cluster, sizeof(to->cluster));
    memcpy(to->tenant, item->tenant, sizeof(to->tenant));
    memcpy(to->incarnation, item->incarnation, sizeof(to->incarnation));
    memcpy(to->uid, parts->uid, sizeof(to->uid));
    to->term = parts->epoch.term;
    to->counter = parts->epoch.counter;
    p->bytes += to->resource.len;
    page_term(p, to->term);
    return 0;
}

static int walk_intents(struct walk *w, const char *after, struct tm_err *err)
{
    struct intents list = {.it = NULL};
    struct name_parts parts;
    int r = intents_open(w->page.st, &w->page.scope, after, &list, err);
    while (r == 0 && !w->full && (r = intents_next(&list, &parts, err)) == 1) {
        r = add_intent(w, &parts, err);
        if (r == 0)
            (void)ends_behind(w, ROOM_INTENTS, parts.uid);
    }
    intents_close(&list);
    return r < 0 ? r : 0;
}

static int walk_backups(struct walk *w, const char *after, struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct page *p = &w->page;
    struct full_name prefix = names_backups_prefix(&p->scope);
    struct full_name behind = names_backup_prefix(&p->scope, after);
    struct storage_object object;
    behind.s[strlen(behind.s) - 1] = '/' + 1; /* sorts behind everything below that backup */
    int r = storage_list(p->st, prefix.s, after[0] != '\0' ? behind.s : NULL, &it, err);
    while (r >= 0 && !w->full && (r = storage_iter_next(it, &object, err)) > 0) {
        char id[NAMES_BACKUP_ID_LEN + 1] = "";
        (void)snprintf(id, sizeof(id), "%s", object.name + strlen(prefix.s));
        if (!names_backup_id_valid(id) ||
            object.name[strlen(prefix.s) + NAMES_BACKUP_ID_LEN] != '/')
            continue; /* not ours */
        if ((r = page_backup(p, id, err)) < 0)
            break;
        (void)ends_behind(w, ROOM_BACKUPS, id);
        behind = names_backup_prefix(&p->scope, id);
        behind.s[strlen(behind.s) - 1] = '/' + 1;
        r = storage_iter_skip(it, behind.s, err);
    }
    return r < 0 ? r : 0;
}

/* Writers of the log have terms that no backup may have. */
static int walk_writers(struct walk *w, const char *room, const uint8_t lineage[16],
                        struct tm_err *err)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct page *p = &w->page;
    size_t base = strlen(names_full(&p->scope, "").s);
    struct storage_object object;
    int r = storage_list(p->st, names_log_prefix(&p->scope, lineage, room).s, NULL, &it, err);
    while (r >= 0 && (r = storage_iter_next(it, &object, err)) > 0)
        page_term(p, names_parse_rel(object.name + base).epoch.term);
    return r < 0 ? r : 0;
}

static int walk_lineages(struct walk *w, struct tm_err *err)
{
    TM_CLEANUP(name_list_release) struct name_list lineages = NAME_LIST_INIT;
    uint8_t lineage[NAMES_LINEAGE_BYTES];
    int r = catalog_children(w->page.st, names_logs_prefix(&w->page.scope).s, &lineages, err);
    for (size_t at = 0; r == 0 && at < lineages.count; at++) {
        if (!names_lineage_parse(lineages.items[at], lineage))
            continue;
        r = walk_writers(w, "writer", lineage, err);
        if (r == 0)
            r = walk_writers(w, "claim", lineage, err);
    }
    return r;
}

static int walk_instance(struct walk *w, struct tm_err *err)
{
    struct identity identity;
    bool here = goes_on_here(w);
    const char *room = here ? w->parts[3] : "";
    int r = identity_read(w->page.scratch, w->page.st, &w->page.scope, &identity, err);
    if (r < 0 && err->code == TM_E_NOT_FOUND)
        return 0;
    if (r < 0 && err->code != TM_E_CORRUPT && err->code != TM_E_UNSUPPORTED)
        return r;
    r = 0; /* one that cannot be read hides nothing: what lies below says itself what it is */
    if (!here)
        r = walk_lineages(w, err);
    if (r == 0 && strcmp(room, ROOM_BACKUPS) != 0)
        r = walk_intents(w, here ? w->parts[4] : "", err);
    if (r == 0 && !w->full)
        r = walk_backups(w, strcmp(room, ROOM_BACKUPS) == 0 ? w->parts[4] : "", err);
    return r;
}

/* ---- from one to the next ---- */

/* As storage lists what lies below them: "prod-2/…" comes before "prod/…". */
static bool sorts_before(const char *a, const char *b)
{
    for (; *a != '\0' && *a == *b; a++, b++)
        ;
    unsigned char at_a = (unsigned char)(*a != '\0' ? *a : '/');
    unsigned char at_b = (unsigned char)(*b != '\0' ? *b : '/');
    return at_a < at_b;
}

/* Level 0: clusters, 1: tenants, 2: incarnations. `same`: all levels above are those of `after`. */
static int walk_level(struct walk *w, const char *prefix, int level, bool same, struct tm_err *err)
{
    TM_CLEANUP(name_list_release) struct name_list list = NAME_LIST_INIT;
    const char *names[3] = {w->page.scope.cluster, w->page.scope.tenant, ""};
    int r = catalog_children(w->page.st, prefix, &list, err);
    for (size_t at = 0; r == 0 && at < list.count && !w->full; at++) {
        const char *name = list.items[at];
        char below[STORAGE_NAME_MAX + 1];
        if (same && sorts_before(name, w->parts[level]))
            continue; /* told by an earlier page */
        if (level == 0 && w->want->cluster[0] != '\0' && strcmp(name, w->want->cluster) != 0)
            continue;
        struct repo_scope *scope = &w->page.scope;
        struct tm_err not_ours;
        if (names_scope_set(scope, level == 0 ? name : names[0],
                            level == 0   ? "main"
                            : level == 1 ? name
                                         : names[1],
                            level == 2 ? name : "0", &not_ours) < 0)
            continue;
        if (level == 2) {
            r = walk_instance(w, err);
            continue;
        }
        (void)snprintf(below, sizeof(below), "%s%s/", prefix, name);
        r = walk_level(w, below, level + 1, same && strcmp(name, w->parts[level]) == 0, err);
    }
    return r;
}

static int take_apart(struct walk *w, struct tm_err *err)
{
    char *rest = w->clusters;
    memcpy(w->clusters, w->want->after, sizeof(w->clusters));
    for (size_t n = 0; n < TM_ARRAY_LEN(w->parts); n++)
        w->parts[n] = rest[0] != '\0' && n > 0 ? rest : "";
    if (w->clusters[0] == '\0')
        return 0;
    for (size_t n = 0; n < TM_ARRAY_LEN(w->parts); n++) {
        w->parts[n] = rest;
        char *slash = rest != NULL ? strchr(rest, '/') : NULL;
        if (rest == NULL || (slash == NULL) != (n + 1 == TM_ARRAY_LEN(w->parts)))
            return tm_err_set(err, TM_E_INVALID, "'%s' is no place in a storage", w->want->after);
        if (slash != NULL)
            *slash = '\0';
        rest = slash != NULL ? slash + 1 : NULL;
    }
    return 0;
}

int stored_page(struct storage *st, const struct msg_read *want, struct codec_arena *arena,
                struct msg_page *ret, struct tm_err *err)
{
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    struct msg_page out = {.term = 0};
    struct repository repository;
    int r = object_scratch_new(&scratch, err);
    struct walk w = {.want = want,
                     .page = {.st = st, .scratch = scratch, .arena = arena, .out = &out}};
    if (r == 0)
        r = take_apart(&w, err);
    if (r == 0)
        r = repository_read(scratch, st, &repository, err);
    if (r == 0)
        r = walk_level(&w, "", 0, want->after[0] != '\0', err);
    if (r == 0)
        *ret = out;
    return r;
}
