/*
 * Starting what was restored. From now on it is a copy that runs beside its source, so it gets the
 * settings that keep it from acting as it (see restore_conf.c), unless a port made it one before.
 */
#include <stdio.h>

#include "agent/engine/postgres/restore_internal.h"
#include "agent/engine/postgres/server.h"
#include "common/hash.h"

#define START_LOG "server.log"

bool pg_restore_replayed(const struct engine_restore *r, uint64_t *ret_byte)
{
    char segment[25];
    uint64_t log = 0, number = 0;
    if (r->data.fd < 0 || !server_replaying(r->data.fd, segment))
        return false;
    for (size_t k = 8; k < 24; k++) { /* behind the timeline */
        uint64_t *part = k < 16 ? &log : &number;
        *part = *part << 4 | (uint64_t)hex_value(segment[k]);
    }
    *ret_byte = log << 32 | number * r->begin.wal_segment_bytes;
    return true;
}

int pg_restore_start(struct engine_restore *r, unsigned timeout_ms, struct tm_err *err)
{
    char bindir[SERVER_BINDIR_MAX];
    char log_file[ENGINE_PATH_MAX + 32];
    if (!r->finished)
        return tm_err_set(err, TM_E_INTERNAL, "start before the restore was finished");
    int rc = server_find_bindir(r->version->major, target_option(r, OPTION_BINDIR), bindir, err);
    if (rc >= 0 && r->port == 0)
        rc = target_conf_clone(r, err);
    if (rc < 0)
        return rc;
    (void)snprintf(log_file, sizeof(log_file), "%s/" START_LOG, r->data.path);
    const struct server_start start = {
        .bindir = bindir,
        .data_dir = r->data.path,
        .log_file = log_file,
        .uid = r->uid,
        .gid = r->gid,
        .timeout_ms = timeout_ms,
    };
    return server_start(&start, err);
}
