#ifndef TM_AGENT_ENGINE_POSTGRES_RESTORE_H
#define TM_AGENT_ENGINE_POSTGRES_RESTORE_H
/*
 * The restore side of the PostgreSQL engine; see engine.h for what each call promises.
 *
 * Calling order:
 *
 *     pg_restore_open            looks, refuses, writes nothing
 *       → pg_restore_check_log*  optional first pass over the stored log; still writes nothing;
 *         pg_restore_check_index*  of chunks whose index says all, in its place
 *       → pg_restore_prepare     from here on the directory cannot be started …
 *       → pg_restore_file*       any order, many threads
 *       → pg_restore_log*        in order, one thread
 *       → pg_restore_manifest_file*  key order, one thread
 *       → pg_restore_finish      … until pg_control is renamed into place, last
 *       → pg_restore_start?      → pg_restore_close
 *
 * Where things go: paths of the backup go below the data directory; "pg_tblspc/<oid>/…" goes below
 * the directory that tablespace is mapped to; "pg_wal/…" below wal_dir when one is given; "/…"
 * (configuration kept outside the data directory, as Debian does) is held in memory until finish,
 * which puts what the server needs into the data directory.
 *
 * Owner: files belong to the calling user. Run as root they are given to the owner of the target
 * directory if it exists and is not root's, else of its parent, else to the user `postgres`;
 * the server option "tidemark.owner" (a user name) says it explicitly. PostgreSQL does not run as
 * root, so root is never the owner.
 *
 * server_options are written to postgresql.auto.conf, except the ones that are for us:
 *     tidemark.owner    user that owns the files (root only)
 *     tidemark.bindir   where pg_ctl and postgres are
 *
 * What stays in the restored directory: recovery.signal and one marked block in
 * postgresql.auto.conf, which the end of recovery removes again; backup_label (PostgreSQL renames
 * it); backup_manifest. pg_restore_start and a given port add a second marked block with what keeps
 * a clone from acting as its source: archive_mode off, no primary_conninfo, empty
 * synchronous_standby_names, its own port and socket. That one stays.
 *
 * A data directory of this agent's own instances (live_data_dirs) may be restored to when it is
 * absent or empty, or with delta while its server is stopped; never a place inside or around one.
 *
 * A started server is a child of nobody, but it stays in the control group of the process that
 * restored: under systemd it ends with that unit, unless it is started again by its own.
 */
#include "agent/engine/engine.h"

int pg_restore_open(const struct engine_restore_spec *spec, struct engine_restore **ret_restore,
                    struct tm_err *err) TM_WUR;
int pg_restore_check_log(struct engine_restore *restore, const char *lineage_label, uint64_t from,
                         struct slice data, struct tm_err *err) TM_WUR;
int pg_restore_check_index(struct engine_restore *restore, const char *lineage_label,
                           uint64_t start, uint64_t until, const struct engine_sections *sections,
                           bool *ret_known, struct tm_err *err) TM_WUR;
int pg_restore_prepare(struct engine_restore *restore, struct tm_err *err) TM_WUR;
int pg_restore_file(struct engine_restore *restore, const struct file_entry *entry, int *ret_fd,
                    struct tm_err *err) TM_WUR;
int pg_restore_log(struct engine_restore *restore, const char *lineage_label, uint64_t from,
                   struct slice data, struct tm_err *err) TM_WUR;
int pg_restore_manifest_file(struct engine_restore *restore, const char *path, uint64_t size,
                             int64_t modified_us, uint32_t crc32c, struct tm_err *err) TM_WUR;
int pg_restore_finish(struct engine_restore *restore, struct tm_err *err) TM_WUR;
int pg_restore_start(struct engine_restore *restore, unsigned timeout_ms,
                     struct tm_err *err) TM_WUR;
bool pg_restore_replayed(const struct engine_restore *restore, uint64_t *ret_byte);
void pg_restore_close(struct engine_restore *restore);
TM_DEFINE_FREEP(struct engine_restore, pg_restore_close)

#endif
