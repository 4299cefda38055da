/* From the words of proto/spec to those of the brain. */
#include "coordinator/brain/view.h"

#include "proto/spec/spec.h"

#include <stdio.h>

#define COPY_TEXT(to, from) (void)snprintf(to, sizeof(to), "%s", (from) != NULL ? (from) : "")
#define MIB                 (UINT64_C(1) << 20)
#define USEC_PER_SECOND     INT64_C(1000000)

static const char *text_or(const char *text, const char *otherwise)
{
    return text != NULL ? text : otherwise;
}

static enum view_policy policy_of(enum clean_policy policy)
{
    switch (policy) {
    case CLEAN_DELETE:
        return VIEW_DELETE;
    case CLEAN_ON_FAILURE:
        return VIEW_ON_FAILURE;
    case CLEAN_RETAIN:
        break;
    }
    return VIEW_RETAIN;
}

static enum view_from from_of(enum backup_from from)
{
    switch (from) {
    case BACKUP_FROM_STANDBY:
        return VIEW_FROM_STANDBY;
    case BACKUP_FROM_ANY:
        return VIEW_FROM_ANY;
    case BACKUP_FROM_PRIMARY:
        break;
    }
    return VIEW_FROM_PRIMARY;
}

static uint32_t bounded(int64_t value, uint32_t max)
{
    return value <= 0 ? 0 : (uint32_t)TM_MIN(value, (int64_t)max);
}

static const char *secret_of(const struct br_spec *br, const struct storage_spec *storage)
{
    return br->own_credentials ? "" : text_or(storage->secret_name, "");
}

static int view_backup(const struct backup_spec *spec, struct codec_arena *arena, struct view *v,
                       struct tm_err *err)
{
    v->kind = JOB_KIND_BACKUP;
    v->cluster = text_or(spec->br.cluster, "");
    v->tenant = text_or(spec->br.tenant, "");
    v->node = "";
    v->storage = text_or(spec->storage.url, "");
    v->secret = secret_of(&spec->br, &spec->storage);
    v->own_credentials = spec->br.own_credentials;
    v->backup_name = "";
    v->policy = policy_of(spec->clean_policy);
    v->from = from_of(spec->from);
    v->clean_grace_ms = bounded(spec->clean_grace_us / 1000, UINT32_MAX);
    if (spec->retry != NULL) {
        v->retries_max = bounded(spec->retry->max_retry_times, 1000);
        v->retry_pause_ms = bounded(spec->retry->min_retry_us / 1000, UINT32_MAX);
    }
    v->backup = codec_arena_alloc(arena, sizeof(*v->backup), err);
    if (v->backup == NULL)
        return -(int)err->code;
    COPY_TEXT(v->backup->compression, spec->compression);
    v->backup->concurrency = bounded(spec->br.concurrency, 256);
    v->backup->rate_limit = (uint64_t)TM_MAX(spec->br.rate_limit_mib, INT64_C(0)) * MIB;
    v->backup->range_bytes = spec->range_bytes;
    v->backup->checksum = spec->br.checksum;
    v->backup->fast_start = spec->fast_start;
    v->backup->accept_incarnation = spec->accept_incarnation;
    v->backup->checkpoint = !spec->br.no_checkpoint;
    v->backup->gcttl_s = bounded(spec->br.gcttl_us / USEC_PER_SECOND, UINT32_MAX);
    return 0;
}

static enum job_step wish_of(const struct backup_spec *spec)
{
    if (spec->log_stop || spec->log_subcommand == LOG_STOP)
        return JOB_STEP_STOP;
    return spec->log_subcommand == LOG_PAUSE ? JOB_STEP_PAUSE : JOB_STEP_RUN;
}

static int truncate_wish(const struct backup_spec *spec, struct codec_arena *arena, struct view *v,
                         struct tm_err *err)
{
    struct moment moment;
    char text[MOMENT_TEXT_MAX];
    v->truncate_until = "";
    if (spec->log_truncate_until == NULL)
        return 0;
    int r = moment_parse(spec->log_truncate_until, &moment, err);
    if (r < 0)
        return r;
    v->truncate_force = spec->log_truncate_force;
    v->truncate_until = codec_arena_text(arena, moment_text(&moment, text), err);
    return v->truncate_until == NULL ? -(int)err->code : 0;
}

static int view_log(const struct backup_spec *spec, struct codec_arena *arena, struct view *v,
                    struct tm_err *err)
{
    v->kind = JOB_KIND_LOG;
    v->cluster = text_or(spec->br.cluster, "");
    v->tenant = text_or(spec->br.tenant, "");
    v->node = "";
    v->storage = text_or(spec->storage.url, "");
    v->secret = secret_of(&spec->br, &spec->storage);
    v->own_credentials = spec->br.own_credentials;
    v->backup_name = "";
    v->log_wish = wish_of(spec);
    struct msg_log_params *to = codec_arena_alloc(arena, sizeof(*to), err);
    if (to == NULL)
        return -(int)err->code;
    v->log = to;
    COPY_TEXT(to->compression, spec->compression);
    to->flush_ms = bounded(spec->flush_interval_us / 1000, 3600000);
    to->gcttl_s = bounded(spec->br.gcttl_us / USEC_PER_SECOND, UINT32_MAX);
    to->hold_limit = spec->hold_limit;
    to->grace_ms = bounded(spec->log_truncate_grace_us / 1000, UINT32_MAX);
    to->release = spec->on_hold_limit == HOLD_RELEASE;
    to->from_standby = spec->log_source == LOG_SOURCE_STANDBY;
    to->accept_incarnation = spec->accept_incarnation;
    return truncate_wish(spec, arena, v, err);
}

/* "name", "value", "name", "value", … */
static int pairs_of(const struct schema_map *map, struct codec_arena *arena, const char ***ret,
                    size_t *ret_count, struct tm_err *err)
{
    *ret_count = 0;
    if (map->count * 2 > WIRE_OPTIONS_MAX)
        return tm_err_set(err, TM_E_LIMIT, "more than %d entries in one map", WIRE_OPTIONS_MAX / 2);
    if (map->count == 0)
        return 0;
    const char **pairs = codec_arena_array(arena, map->count * 2, sizeof(*pairs), err);
    if (pairs == NULL)
        return -(int)err->code;
    for (size_t at = 0; at < map->count; at++) {
        pairs[2 * at] = map->entries[at].key;
        pairs[2 * at + 1] = map->entries[at].value;
    }
    *ret = pairs;
    *ret_count = map->count * 2;
    return 0;
}

static int view_restore(const struct restore_spec *spec, struct codec_arena *arena, struct view *v,
                        struct tm_err *err)
{
    char target[RESTORE_TARGET_MAX];
    v->kind = JOB_KIND_RESTORE;
    v->cluster = text_or(spec->br.cluster, "");
    v->tenant = text_or(spec->br.tenant, "");
    v->node = text_or(spec->node, "");
    v->storage = text_or(spec->storage.url, "");
    v->secret = secret_of(&spec->br, &spec->storage);
    v->full_secret = secret_of(&spec->br, &spec->full_storage);
    v->own_credentials = spec->br.own_credentials;
    v->backup_name = text_or(spec->backup, "");
    struct msg_restore_params *to = codec_arena_alloc(arena, sizeof(*to), err);
    if (to == NULL)
        return -(int)err->code;
    v->restore = to;
    COPY_TEXT(to->source_cluster, v->cluster);
    COPY_TEXT(to->source_tenant, v->tenant[0] != '\0' ? v->tenant : RESOURCE_TENANT);
    to->data_dir = text_or(spec->data_dir, "");
    to->wal_dir = spec->wal_dir;
    to->target = codec_arena_text(arena, restore_target_text(spec, target, sizeof(target)), err);
    if (to->target == NULL)
        return -(int)err->code;
    to->exclusive = !spec->target.inclusive;
    COPY_TEXT(to->lineage, spec->target.lineage);
    v->to_point = strcmp(to->target, "immediate") != 0;
    v->full_storage = text_or(spec->full_storage.url, "");
    to->concurrency = bounded(spec->br.concurrency, 256);
    to->rate_limit = (uint64_t)TM_MAX(spec->br.rate_limit_mib, INT64_C(0)) * MIB;
    to->port = bounded(spec->port, 65535);
    to->start_timeout_ms = bounded(spec->start_timeout_us / 1000, UINT32_MAX);
    to->start = spec->start;
    to->delta = spec->delta;
    to->dry_run = spec->dry_run;
    int r =
        pairs_of(&spec->tablespace_map, arena, &to->tablespace_map, &to->tablespace_map_count, err);
    if (r == 0)
        r = pairs_of(&spec->server_options, arena, &to->server_options, &to->server_options_count,
                     err);
    return r;
}

/* What the wire's bounds refuse is refused when it is applied, not when an agent should have it. */
static int check_bounds(const struct view *v, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
    if (strlen(v->cluster) > WIRE_NAME_MAX || strlen(v->tenant) > WIRE_NAME_MAX ||
        strlen(v->node) > WIRE_NAME_MAX || strlen(v->name) > WIRE_NAME_MAX)
        return tm_err_set(err, TM_E_INVALID, "a name is longer than %d bytes", WIRE_NAME_MAX);
    if (strlen(v->storage) > WIRE_URL_MAX ||
        (v->full_storage != NULL && strlen(v->full_storage) > WIRE_URL_MAX))
        return tm_err_set(err, TM_E_INVALID, "the storage URL is longer than %d bytes",
                          WIRE_URL_MAX);
    if (v->kind == JOB_KIND_RESTORE)
        return codec_encode(&msg_restore_params_codec, v->restore, CODEC_MINOR_ALL, &bytes, err);
    if (v->kind == JOB_KIND_LOG)
        return codec_encode(&msg_log_params_codec, v->log, CODEC_MINOR_ALL, &bytes, err);
    return codec_encode(&msg_backup_params_codec, v->backup, CODEC_MINOR_ALL, &bytes, err);
}

int view_of(const struct resource *spec, struct codec_arena *arena, struct view *ret,
            struct tm_err *err)
{
    struct view view = {.kind_text = resource_kind_text(spec->kind),
                        .namespace_ = spec->namespace_,
                        .name = spec->name,
                        .full_secret = "",
                        .document = slice_of(spec->document, spec->document_len)};
    int r = resource_check_apply(spec, err);
    if (r == 0 && spec->kind == RESOURCE_BACKUP && spec->backup.mode == BACKUP_MODE_LOG)
        r = view_log(&spec->backup, arena, &view, err);
    else if (r == 0 && spec->kind == RESOURCE_BACKUP)
        r = view_backup(&spec->backup, arena, &view, err);
    else if (r == 0 && spec->kind == RESOURCE_RESTORE)
        r = view_restore(&spec->restore, arena, &view, err);
    else if (r == 0)
        r = tm_err_set(err, TM_E_UNSUPPORTED, "kind %s is not carried out by this version",
                       view.kind_text);
    if (r == 0)
        r = check_bounds(&view, err);
    if (r == 0)
        *ret = view;
    return r;
}

static void take_place(const struct br_spec *br, const struct storage_spec *storage,
                       struct view_place *to)
{
    if (to->cluster[0] == '\0')
        to->cluster = text_or(br->cluster, "");
    if (to->storage[0] != '\0')
        return;
    to->storage = text_or(storage->url, "");
    to->secret = secret_of(br, storage);
    to->own_credentials = br->own_credentials;
}

void view_place_of(const struct resource *spec, struct view_place *ret)
{
    *ret = (struct view_place){.kind_text = resource_kind_text(spec->kind),
                               .namespace_ = spec->namespace_,
                               .name = spec->name,
                               .cluster = "",
                               .storage = "",
                               .secret = "",
                               .backup_name = ""};
    switch (spec->kind) {
    case RESOURCE_BACKUP:
        take_place(&spec->backup.br, &spec->backup.storage, ret);
        ret->stores_on =
            spec->backup.mode == BACKUP_MODE_LOG && wish_of(&spec->backup) != JOB_STEP_STOP;
        break;
    case RESOURCE_RESTORE:
        take_place(&spec->restore.br, &spec->restore.storage, ret);
        ret->backup_name = text_or(spec->restore.backup, "");
        break;
    case RESOURCE_BACKUP_SCHEDULE:
        take_place(&spec->schedule.br, &spec->schedule.storage, ret);
        take_place(&spec->schedule.backup_template.br, &spec->schedule.backup_template.storage,
                   ret);
        if (spec->schedule.backup_template.br
                .own_credentials) { /* the storage may be the schedule's */
            ret->own_credentials = true;
            ret->secret = "";
        }
        ret->stores_on = true;
        break;
    case RESOURCE_COMPACT_BACKUP:
        take_place(&spec->compact.br, &spec->compact.storage, ret);
        break;
    case RESOURCE_NONE:
        break;
    }
}

int view_parse(struct slice document, struct resource **ret, struct tm_err *err)
{
    return resource_parse_document("stored", document, ret, err);
}

void view_free(struct resource *spec)
{
    resource_free(spec);
}
