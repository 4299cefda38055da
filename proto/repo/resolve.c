/*
 * From the names a person gives to one incarnation. Failure modes: what is not there is answered
 * with what is there, because the one who asks stands in front of a storage path with every host
 * gone.
 */
#include "proto/repo/catalog.h"

/* "a, b, c", cut where it gets long */
static const char *list_text(const struct name_list *list, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < list->count && used + NAMES_INCARNATION_MAX + 8 < size; i++) {
        int n = snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : "", list->items[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    return text;
}

static void name_list_done(struct name_list *list)
{
    name_list_release(list);
}

static int no_cluster(struct storage *st, const char *cluster, struct tm_err *err)
{
    TM_CLEANUP(name_list_done) struct name_list clusters = NAME_LIST_INIT;
    char text[256];
    int r = catalog_children(st, "", &clusters, err);
    if (r < 0)
        return r;
    if (clusters.count == 0)
        return tm_err_set(err, TM_E_NOT_FOUND, "'%s' holds no cluster", st->display);
    return tm_err_set(err, TM_E_NOT_FOUND, "'%s' holds no cluster '%s': there is %s", st->display,
                      cluster, list_text(&clusters, text, sizeof(text)));
}

static int choose_tenant(struct storage *st, const char *cluster, const char *wanted,
                         char ret[NAMES_TENANT_MAX + 1], struct tm_err *err)
{
    TM_CLEANUP(name_list_done) struct name_list tenants = NAME_LIST_INIT;
    char prefix[NAMES_CLUSTER_MAX + 2];
    char text[256];
    (void)snprintf(prefix, sizeof(prefix), "%s/", cluster);
    int r = catalog_children(st, prefix, &tenants, err);
    if (r < 0)
        return r;
    if (tenants.count == 0)
        return no_cluster(st, cluster, err);
    const char *name = wanted != NULL ? wanted : "main";
    size_t at = 0;
    while (at < tenants.count && strcmp(tenants.items[at], name) != 0)
        at++;
    if (at == tenants.count && wanted != NULL)
        return tm_err_set(err, TM_E_NOT_FOUND, "cluster '%s' has no tenant '%s': there is %s",
                          cluster, wanted, list_text(&tenants, text, sizeof(text)));
    if (at == tenants.count && tenants.count > 1)
        return tm_err_set(err, TM_E_INVALID, "cluster '%s' has several tenants, name one of: %s",
                          cluster, list_text(&tenants, text, sizeof(text)));
    at = at == tenants.count ? 0 : at;
    (void)snprintf(ret, NAMES_TENANT_MAX + 1, "%.*s", NAMES_TENANT_MAX, tenants.items[at]);
    return 0;
}

int catalog_unknown(struct storage *st, const char *cluster, const char *tenant, struct tm_err *err)
{
    char found[NAMES_TENANT_MAX + 1];
    int r = cluster != NULL ? choose_tenant(st, cluster, tenant, found, err) : 0;
    if (r < 0)
        return r;
    return tm_err_set(err, TM_E_NOT_FOUND, "'%s' holds nothing of a tenant '%s'", st->display,
                      tenant != NULL ? tenant : found);
}

static int has_committed(struct storage *st, const struct repo_scope *scope, bool *ret,
                         struct tm_err *err)
{
    struct backup_list backups = BACKUP_LIST_INIT;
    int r = catalog_backups(st, scope, &backups, err);
    bool found = false;
    for (size_t i = 0; r == 0 && i < backups.count; i++)
        found = found || backups.items[i].state == BACKUP_COMMITTED;
    backup_list_release(&backups);
    if (r == 0)
        *ret = found;
    return r;
}

/* The newest incarnation with something to restore. */
static int choose_incarnation(struct object_scratch *scratch, struct storage *st,
                              struct repo_scope *scope, struct tm_err *err)
{
    TM_CLEANUP(name_list_done) struct name_list incarnations = NAME_LIST_INIT;
    char prefix[NAMES_CLUSTER_MAX + NAMES_TENANT_MAX + 3];
    (void)snprintf(prefix, sizeof(prefix), "%s/%s/", scope->cluster, scope->tenant);
    int r = catalog_children(st, prefix, &incarnations, err);
    bool found = false;
    int64_t newest_us = 0;
    for (size_t i = 0; r == 0 && i < incarnations.count; i++) {
        struct repo_scope candidate = *scope;
        struct identity identity = {.created_us = INT64_MIN};
        bool committed = false;
        memcpy(candidate.incarnation, incarnations.items[i], sizeof(candidate.incarnation));
        r = has_committed(st, &candidate, &committed, err);
        if (r < 0 || !committed)
            continue;
        r = identity_read(scratch, st, &candidate, &identity, err);
        if (r < 0)
            break;
        if (!found || identity.created_us > newest_us) {
            newest_us = identity.created_us;
            *scope = candidate;
            found = true;
        }
    }
    if (r < 0)
        return r;
    if (!found)
        return tm_err_set(err, TM_E_NOT_FOUND, "'%s' holds no finished backup of %s/%s",
                          st->display, scope->cluster, scope->tenant);
    return 0;
}

int catalog_resolve(struct object_scratch *scratch, struct storage *st, const char *cluster,
                    const char *tenant, const char *incarnation, struct repo_scope *ret,
                    struct tm_err *err)
{
    struct repo_scope scope;
    char chosen[NAMES_TENANT_MAX + 1];
    int r = names_scope_set(&scope, cluster, tenant != NULL ? tenant : "main",
                            incarnation != NULL ? incarnation : "any", err);
    if (r == 0)
        r = choose_tenant(st, cluster, tenant, chosen, err);
    if (r < 0)
        return r;
    memcpy(scope.tenant, chosen, sizeof(chosen));
    if (incarnation == NULL)
        r = choose_incarnation(scratch, st, &scope, err);
    if (r == 0)
        *ret = scope;
    return r;
}
