/*
 * Which tenants a cluster has: what its agents say, and what they said before.
 *
 * Happy path: a heartbeat names a tenant → it is noted. As soon as a cluster has two, they are stored, so that
 * a coordinator that was just started does not take the agents that came back first for all there are.
 *
 * Failure modes: an agent is away for long → its tenant is still the cluster's, for TENANT_FORGET_US: a backup
 * of the cluster that lacks it says so, as it should. A tenant that was taken away counts for as long; backups
 * that name their tenants do not mind. The store fails → it is stored again a little later.
 */
#include "coordinator/brain/parts.h"

#include <stdio.h>

#include "common/array.h"
#include "proto/spec/spec.h"

#define TENANT_FORGET_US (UINT64_C(7) * 24 * 3600 * 1000000)

CODEC_DEFINE(cluster_record, "cluster record", CLUSTER_RECORD_FIELDS);

static struct cluster *find(const struct brain *b, const char *name)
{
    for (size_t at = 0; at < b->cluster_count; at++) {
        if (strcmp(b->clusters[at].name, name) == 0)
            return &b->clusters[at];
    }
    return NULL;
}

static struct cluster *find_or_add(struct brain *b, const char *name)
{
    struct cluster *found = find(b, name);
    if (found != NULL || b->cluster_count == BRAIN_NODES_MAX) /* each has a node, or had one */
        return found;
    if (ARRAY_ROOM(b->clusters, b->cluster_count, b->cluster_cap, 4, b->err) < 0) {
        brain_check(b, -(int)b->err->code);
        return NULL;
    }
    struct cluster *c = &b->clusters[b->cluster_count++];
    *c = (struct cluster){.tenant_count = 0};
    COPY_TEXT(c->name, name);
    return c;
}

/* Sorted, as everything that decides. True: it is new. */
static bool add(struct brain *b, struct cluster *c, const char *tenant)
{
    size_t at = 0;
    while (at < c->tenant_count && strcmp(c->tenants[at].name, tenant) < 0)
        at++;
    if (at < c->tenant_count && strcmp(c->tenants[at].name, tenant) == 0) {
        c->tenants[at].seen_us = b->now.mono_us;
        return false;
    }
    if (c->tenant_count == BRAIN_TENANTS_MAX) {
        c->more = true;
        return false;
    }
    memmove(&c->tenants[at + 1], &c->tenants[at], (c->tenant_count - at) * sizeof(c->tenants[at]));
    COPY_TEXT(c->tenants[at].name, tenant);
    c->tenants[at].seen_us = b->now.mono_us;
    c->tenant_count++;
    return true;
}

void tenants_note(struct brain *b, const char *cluster, const char *tenant)
{
    struct cluster *c = find_or_add(b, cluster);
    if (c != NULL && add(b, c, tenant))
        c->dirty = c->dirty || c->tenant_count > 1;
}

void tenants_heard(struct brain *b, const struct node *node)
{
    for (size_t at = 0; at < node->instance_count; at++) {
        if (node->instances[at].tenant[0] != '\0')
            tenants_note(b, node->cluster, node->instances[at].tenant);
    }
}

int tenants_load(struct brain *b, struct slice value, struct tm_err *err)
{
    TM_CLEANUP(codec_arena_release) struct codec_arena arena = {0};
    struct cluster_record rec;
    int r = codec_decode(&cluster_record_codec, value, &arena, &rec, err);
    if (r < 0)
        return tm_err_prefix(err, "stored record of a cluster");
    struct cluster *c = find_or_add(b, rec.cluster);
    for (size_t at = 0; c != NULL && at < rec.tenants_count; at++)
        (void)add(b, c, rec.tenants[at]);
    return 0;
}

void tenants_free(struct brain *b)
{
    free(b->clusters);
}

/* ---- stored ---- */

static void save(struct brain *b, struct cluster *c)
{
    const char *names[BRAIN_TENANTS_MAX];
    char key[sizeof(BRAIN_CLUSTER_PREFIX) + WIRE_NAME_MAX];
    struct cluster_record rec = {.tenants = names, .tenants_count = c->tenant_count};
    (void)snprintf(key, sizeof(key), BRAIN_CLUSTER_PREFIX "%s", c->name);
    COPY_TEXT(rec.cluster, c->name);
    for (size_t at = 0; at < c->tenant_count; at++)
        names[at] = c->tenants[at].name;
    c->txn = persist_one(b, key, &cluster_record_codec, &rec);
    c->dirty = c->txn == 0;
}

void tenants_persisted(struct brain *b, uint64_t txn, bool ok)
{
    for (size_t at = 0; at < b->cluster_count; at++) {
        struct cluster *c = &b->clusters[at];
        if (c->txn != txn)
            continue;
        c->txn = 0;
        c->dirty = c->dirty || !ok;
        c->retry_us = ok ? 0 : b->now.mono_us + PERSIST_RETRY_US;
    }
}

static void forget(struct brain *b, struct cluster *c)
{
    size_t kept = 0;
    for (size_t at = 0; at < c->tenant_count; at++) {
        if (b->now.mono_us - c->tenants[at].seen_us <= TENANT_FORGET_US)
            c->tenants[kept++] = c->tenants[at];
    }
    c->dirty = c->dirty || kept != c->tenant_count;
    b->facts += kept != c->tenant_count;
    c->more = c->more && kept == c->tenant_count;
    c->tenant_count = kept;
}

void tenants_tick(struct brain *b)
{
    for (size_t at = 0; at < b->cluster_count && !b->failed; at++) {
        struct cluster *c = &b->clusters[at];
        forget(b, c);
        if (c->dirty && c->txn == 0 && b->now.mono_us >= c->retry_us)
            save(b, c);
    }
}

/* ---- asked ---- */

const struct cluster *tenants_of(const struct brain *b, const char *cluster)
{
    static const struct cluster none;
    const struct cluster *found = find(b, cluster);
    return found != NULL ? found : &none;
}

const char *tenant_of(const struct brain *b, const struct res *res)
{
    if (res->view.tenant[0] != '\0')
        return res->view.tenant;
    if (res->now.rec.tenant[0] != '\0')
        return res->now.rec.tenant;
    const struct cluster *c = tenants_of(b, res->view.cluster);
    return c->tenant_count == 1 ? c->tenants[0].name : RESOURCE_TENANT;
}

/* Whether the job has this tenant. */
static bool covers(const struct record *rec, const char *tenant)
{
    for (size_t at = 0; at < rec->parts_count; at++) {
        if (strcmp(rec->parts[at], tenant) == 0)
            return true;
    }
    return strcmp(rec->tenant, tenant) == 0;
}

bool tenants_left_out(const struct brain *b, const struct res *res, char ret[TM_ERR_MSG_MAX])
{
    const struct record *rec = &res->now.rec;
    const struct cluster *c = tenants_of(b, res->view.cluster);
    size_t used = 0;
    ret[0] = '\0';
    if (res->view.kind != JOB_KIND_BACKUP || res->view.tenant[0] != '\0' ||
        (rec->parts_count == 0 && rec->tenant[0] == '\0'))
        return false;
    for (size_t at = 0; at < c->tenant_count && used < TM_ERR_MSG_MAX; at++) {
        if (!covers(rec, c->tenants[at].name))
            used += (size_t)snprintf(ret + used, TM_ERR_MSG_MAX - used, "%s'%s'",
                                     used > 0 ? ", " : "", c->tenants[at].name);
    }
    return used > 0;
}
