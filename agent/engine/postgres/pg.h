#ifndef TM_AGENT_ENGINE_POSTGRES_PG_H
#define TM_AGENT_ENGINE_POSTGRES_PG_H
/*
 * The PostgreSQL engine's own functions, as its table in postgres.c names them. Their contracts are
 * those of agent/engine/engine.h.
 *
 *     session.c     check, describe, the session that holds pg_backup_start … pg_backup_stop
 *     resume.c      a second session for a snapshot whose first one was lost;  proof.c
 *     plan.c        cuts the key space into ranges
 *     standby.c     reading ranges on a standby
 *     reader.c      reads a range;  listing.c lists directories;  page.c checks pages
 *     stream.c      the log, by physical replication;  log_file.c from the source's files
 *     log_describe.c  what a log task must know;  hold.c keeps log at the source
 *     wal_index.c   what a log says: events, block references, settings;  log_last.c
 *     restore*.c    restore.h
 */
#include "agent/engine/engine.h"

extern const struct engine_ops postgres_engine;

int pg_describe(const struct engine_instance *, struct engine_description *, struct tm_err *);
int pg_check(const struct engine_instance *, struct tm_err *);
int pg_session_open(const struct engine_instance *, const char *label, struct engine_session **,
                    struct tm_err *);
int pg_snapshot_begin(struct engine_session *, const char *hold, bool fast, struct buf *,
                      struct engine_position *, struct tm_err *);
int pg_snapshot_resume(struct engine_session *, const char *hold, bool fast, struct slice first,
                       uint64_t log_from, struct buf *, struct engine_position *, struct tm_err *);
int pg_hold_advance(struct engine_session *, uint64_t durable, struct tm_err *);
int pg_session_ping(struct engine_session *, struct tm_err *);
int pg_snapshot_end(struct engine_session *, struct buf *, struct engine_position *, int64_t *,
                    struct tm_err *);
void pg_session_close(struct engine_session *);
void pg_session_cancel(struct engine_session *);

int pg_snapshot_settled(struct slice end, int64_t *ret_us, struct tm_err *);
bool pg_snapshot_resumed(struct slice begin);
int pg_proof_open(struct slice begin, struct engine_proof **, struct tm_err *);
int pg_proof_push(struct engine_proof *, struct slice bytes, struct tm_err *);
int pg_proof_end(struct engine_proof *, struct slice end, struct tm_err *);
void pg_proof_close(struct engine_proof *);
int pg_reader_open(const struct engine_instance *, struct slice begin, struct engine_reader **,
                   struct tm_err *);
int pg_plan(struct engine_reader *, const struct engine_plan_options *, engine_plan_fn, void *,
            struct tm_err *);
int pg_read_range(struct engine_reader *, struct engine_key_range, struct range_sink *,
                  struct engine_range_stats *, struct tm_err *);
int pg_final_key(struct engine_reader *, uint8_t key[ENGINE_KEY_MAX], size_t *);
int pg_read_final(struct engine_reader *, struct slice end, struct range_sink *,
                  struct engine_range_stats *, struct tm_err *);
void pg_reader_close(struct engine_reader *);
bool pg_range_anywhere(struct engine_key_range);
int pg_reader_ready(struct engine_reader *, struct tm_err *);

int pg_log_position(const struct engine_position *, uint64_t *);
int pg_log_open(const struct engine_instance *, struct slice begin, uint64_t from,
                struct engine_log **, struct tm_err *);
int pg_log_next(struct engine_log *, unsigned timeout_ms, struct engine_log_event *,
                struct tm_err *);
void pg_log_close(struct engine_log *);

int pg_log_describe(const struct engine_instance *, struct engine_log_source *, struct tm_err *);
int pg_log_parent(const struct engine_log_source *, struct engine_log_source *, struct tm_err *);
int pg_log_history(const struct engine_instance *, const char *label, struct buf *,
                   struct tm_err *);
int pg_log_read_file(const struct engine_instance *, struct slice facts, const char *label,
                     uint64_t from, uint8_t *dst, size_t len, struct tm_err *);
/* hold_look and hold_touch say TM_E_NOT_FOUND (retryable: open it anew) when somebody dropped the
 * slot. */
int pg_hold_open(const struct engine_instance *, const char *name, bool may_make,
                 struct engine_hold **, bool *ret_made, struct tm_err *);
int pg_hold_look(struct engine_hold *, struct engine_hold_state *, struct tm_err *);
int pg_hold_touch(struct engine_hold *, uint64_t durable, uint64_t *ret_from, struct tm_err *);
int pg_hold_drop(struct engine_hold *, struct tm_err *);
void pg_hold_close(struct engine_hold *);
int pg_hold_list(const struct engine_instance *instance, const char *prefix,
                 struct engine_hold_found *ret, size_t max, size_t *ret_count, struct tm_err *err);
/* Facts may be a snapshot's begin, too. */
int pg_index_open(struct slice facts, uint64_t from, struct engine_log_index **, struct tm_err *);
int pg_index_push(struct engine_log_index *, struct slice bytes, struct tm_err *);
int pg_index_take(struct engine_log_index *, struct engine_index_part *, struct tm_err *);
void pg_index_close(struct engine_log_index *);
/* TM_E_NOT_FOUND when there is no such record. */
int pg_log_last_record(struct slice facts, uint64_t from,
                       int (*read)(void *arg, uint64_t at, struct slice *, struct tm_err *),
                       void *arg, uint64_t limit, bool before, uint64_t *ret_record,
                       struct tm_err *);
void pg_position_text(uint64_t byte, char ret[ENGINE_POSITION_MAX]);
int pg_position_parse(const char *text, uint64_t *ret_byte, struct tm_err *);

#endif
