/*
 * Secrets at the control socket: stored, listed, removed; and whether a spec's secrets will do.
 *
 * A spec that names a secret is refused while the secret is not there, or lacks what its store
 * needs: the job would fail at its first step, perhaps days later when a schedule runs it. There are
 * no documents of kind Secret, so nothing in the same file could bring it. A resource that is there
 * already keeps its right to be changed (a log backup must be stoppable without its secret).
 *
 * No message holds a value.
 */
#include "coordinator/control/internal.h"

#include <jansson.h>

#include "common/clock.h"
#include "common/suggest.h"
#include "coordinator/secrets/secrets.h"
#include "proto/wire/secret.h"

#define USERS_SHOWN 3  /* in a message */
#define USERS_MAX   64 /* in a listing */

/* ---- what stores need ---- */

static const char *const known_keys[] = {
    "access_key",          "secret_key",
    "session_token",       "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_KEY",   "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_TENANT_ID",     "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
};

static bool has(const struct secret_map *map, const char *key)
{
    return secret_map_get(map, key) != NULL;
}

/* NULL, or what is missing. */
static const char *lacks(const struct storage_spec *storage, const struct secret_map *map)
{
    if (storage->kind != STORAGE_SPEC_AZBLOB)
        return has(map, "access_key") && has(map, "secret_key")
                   ? NULL
                   : "access_key and secret_key are needed for an S3 store";
    bool may = has(map, "AZURE_STORAGE_KEY") || has(map, "AZURE_STORAGE_SAS_TOKEN") ||
               (has(map, "AZURE_TENANT_ID") && has(map, "AZURE_CLIENT_ID") &&
                has(map, "AZURE_CLIENT_SECRET"));
    return may ? NULL
               : "AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, or AZURE_TENANT_ID, AZURE_CLIENT_ID "
                 "and AZURE_CLIENT_SECRET are needed for Azure";
}

static void warn_unknown(const struct secret_map *map, struct schema_warnings *warnings)
{
    for (size_t n = 0; n < map->count; n++) {
        const char *key = map->items[n].name;
        bool known = false;
        for (size_t k = 0; k < TM_ARRAY_LEN(known_keys); k++)
            known = known || strcmp(known_keys[k], key) == 0;
        const char *meant = suggest_from(key, known_keys, TM_ARRAY_LEN(known_keys));
        if (!known && meant != NULL)
            schema_warn(warnings, NULL, "key '%s' is used by no store, did you mean '%s'?", key,
                        meant);
        else if (!known)
            schema_warn(warnings, NULL, "key '%s' is used by no store", key);
    }
}

/* ---- who needs which ---- */

/* The stores of a spec for which agents are sent a secret. */
static size_t stores_of(const struct resource *r, const struct storage_spec *ret[2])
{
    const struct storage_spec *all[2] = {NULL, NULL};
    bool own = true;
    size_t count = 0;
    if (r->kind == RESOURCE_BACKUP) {
        own = r->backup.br.own_credentials;
        all[0] = &r->backup.storage;
    } else if (r->kind == RESOURCE_RESTORE) {
        own = r->restore.br.own_credentials;
        all[0] = &r->restore.storage;
        all[1] = &r->restore.full_storage;
    }
    for (size_t n = 0; n < 2; n++)
        if (!own && all[n] != NULL && all[n]->secret_name != NULL)
            ret[count++] = all[n];
    return count;
}

static bool names_secret(const struct resource *r, const char *name)
{
    const struct storage_spec *stores[2];
    size_t count = stores_of(r, stores);
    for (size_t n = 0; n < count; n++)
        if (strcmp(stores[n]->secret_name, name) == 0)
            return true;
    return false;
}

int secret_check_apply(const struct control *control, const struct resource *r, struct tm_err *err)
{
    const struct brain *brain = control->config.brain(control->config.arg);
    const struct storage_spec *stores[2];
    struct brain_resource there;
    size_t count = control->config.secrets != NULL ? stores_of(r, stores) : 0;
    bool exists = count > 0 && brain_resource_find(brain, resource_kind_text(r->kind),
                                                   r->namespace_, r->name, &there);
    for (size_t n = 0; n < count; n++) {
        const char *name = stores[n]->secret_name;
        const char *word = resource_kind_word(r->kind);
        struct secrets_entry entry;
        if (exists && names_secret(there.spec, name))
            continue;
        if (!secrets_find(control->config.secrets, name, &entry))
            return tm_err_set(err, TM_E_INVALID,
                              "%s/%s: there is no secret '%s'; create it first: tidemark create "
                              "secret %s --from-literal KEY=VALUE …, or set br.sendCredToAgents: "
                              "false when every agent has credentials of its own",
                              word, r->name, name, name);
        if (entry.why != NULL)
            return tm_err_set(err, TM_E_INVALID,
                              "%s/%s: secret '%s' cannot be read, create it again: %s", word,
                              r->name, name, entry.why);
        const char *missing = lacks(stores[n], entry.map);
        if (missing != NULL)
            return tm_err_set(err, TM_E_INVALID, "%s/%s: secret '%s' will not do: %s", word,
                              r->name, name, missing);
    }
    return 0;
}

/* "backup/a", one after the other, of those that name it. Returns how many there are. */
static size_t users_of(const struct control *control, const char *name, size_t max,
                       char (*ret)[2 * WIRE_NAME_MAX + 2])
{
    const struct brain *brain = control->config.brain(control->config.arg);
    size_t cursor = 0;
    size_t count = 0;
    struct brain_resource one;
    while (brain_resource_next(brain, &cursor, &one)) {
        if (!names_secret(one.spec, name))
            continue;
        if (count < max)
            (void)snprintf(ret[count], sizeof(ret[0]), "%s/%s", resource_kind_word(one.spec->kind),
                           one.spec->name);
        count++;
    }
    return count;
}

/* ---- commands ---- */

static int secrets_of(struct connection *c, struct secrets **ret, struct tm_err *err)
{
    if (c->control->config.secrets == NULL)
        return tm_err_set(err, TM_E_UNSUPPORTED, "this coordinator keeps no secrets");
    *ret = c->control->config.secrets;
    return 0;
}

/* Feeding may answer before it returns: the command's number is set first. */
static int begin_change(struct connection *c, struct tm_err *err)
{
    struct request *r = &c->request;
    if (r->message.name[0] == '\0')
        return tm_err_set(err, TM_E_INVALID, "secret: a name is missing");
    r->results = codec_arena_array(&r->arena, 1, sizeof(*r->results), err);
    if (r->results == NULL)
        return -(int)err->code;
    r->cmd = ++c->control->last_cmd;
    r->word = "secret";
    (void)snprintf(r->name, sizeof(r->name), "%s", r->message.name);
    return 0;
}

int secret_begin_put(struct connection *c, struct tm_err *err)
{
    struct request *r = &c->request;
    struct secrets *secrets = NULL;
    TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
    struct msg_secret pairs = {.pairs = r->message.pairs, .pairs_count = r->message.pairs_count};
    (void)snprintf(pairs.name, sizeof(pairs.name), "%s", r->message.name);
    int result = secrets_of(c, &secrets, err);
    if (result < 0 || (result = begin_change(c, err)) < 0 ||
        (result = msg_secret_to(&pairs, &map, err)) < 0)
        return result;
    warn_unknown(&map, &r->list.warnings);
    result = secrets_put(secrets, r->name, &map, r->cmd, err);
    return result < 0 ? tm_err_prefix(err, "secret") : 0;
}

int secret_begin_delete(struct connection *c, struct tm_err *err)
{
    struct request *r = &c->request;
    struct secrets *secrets = NULL;
    char users[USERS_SHOWN][2 * WIRE_NAME_MAX + 2];
    int result = secrets_of(c, &secrets, err);
    if (result < 0 || (result = begin_change(c, err)) < 0)
        return result;
    size_t count = r->message.force ? 0 : users_of(c->control, r->name, USERS_SHOWN, users);
    if (count > 0)
        return tm_err_set(err, TM_E_REFUSED,
                          "secret/%s: is named by %s%s%s%s%s%s; delete what names it first, or use "
                          "--force",
                          r->name, users[0], count > 1 ? ", " : "", count > 1 ? users[1] : "",
                          count > 2 ? ", " : "", count > 2 ? users[2] : "",
                          count > USERS_SHOWN ? " and others" : "");
    return secrets_remove(secrets, r->name, r->cmd, err);
}

static json_t *render(const struct control *control, const struct secrets_entry *entry, bool users)
{
    char time[CLOCK_TEXT_MAX];
    json_t *keys = json_array();
    for (size_t n = 0; n < entry->map->count; n++)
        (void)json_array_append_new(keys, json_string(entry->map->items[n].name));
    json_t *json = json_pack("{s:s, s:s, s:{s:s}, s:o, s:s, s:s}", "apiVersion", "tidemark/v1",
                             "kind", "Secret", "metadata", "name", entry->name, "keys", keys,
                             "file", entry->encrypted ? "encrypted" : "plain", "changed",
                             clock_format(entry->changed_us, time));
    if (json != NULL && entry->why != NULL)
        (void)json_object_set_new(json, "error", json_string(entry->why));
    if (json == NULL || !users)
        return json;
    char names[USERS_MAX][2 * WIRE_NAME_MAX + 2];
    size_t count = TM_MIN(users_of(control, entry->name, USERS_MAX, names), (size_t)USERS_MAX);
    json_t *list = json_array();
    for (size_t n = 0; n < count; n++)
        (void)json_array_append_new(list, json_string(names[n]));
    (void)json_object_set_new(json, "usedBy", list);
    return json;
}

/* Takes json over. */
static int add_item(struct request *r, struct control_item *item, json_t *json, struct tm_err *err)
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (text == NULL)
        return tm_err_oom(err);
    item->json = codec_arena_text(&r->arena, text, err);
    free(text);
    return item->json != NULL ? 0 : -(int)err->code;
}

/* All of them fit into one page. */
_Static_assert(SECRETS_MAX <= CONTROL_PAGE_ITEMS, "a page holds all secrets");

int secret_begin_list(struct connection *c, struct tm_err *err)
{
    struct request *r = &c->request;
    struct secrets *secrets = NULL;
    struct control_item items[CONTROL_PAGE_ITEMS];
    struct control_reply reply = {.version = CONTROL_PROTOCOL, .items = items};
    struct secrets_entry entry;
    size_t cursor = 0;
    int result = secrets_of(c, &secrets, err);
    if (result < 0)
        return result;
    if (r->message.name[0] != '\0') {
        if (!secrets_find(secrets, r->message.name, &entry))
            return tm_err_set(err, TM_E_NOT_FOUND, "secret/%s: not found", r->message.name);
        result = add_item(r, &items[reply.items_count++], render(c->control, &entry, true), err);
    } else {
        while (result == 0 && secrets_next(secrets, &cursor, &entry))
            result =
                add_item(r, &items[reply.items_count++], render(c->control, &entry, false), err);
    }
    if (result < 0)
        return result;
    connection_reply(c, &reply);
    return 0;
}
