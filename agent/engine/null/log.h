#ifndef TM_AGENT_ENGINE_NULL_LOG_H
#define TM_AGENT_ENGINE_NULL_LOG_H
/*
 * The log side of the null engine: streams, holds, index and proof. engine.h says what each call promises.
 */
#include "agent/engine/engine.h"
#include "agent/engine/null/config.h"

int null_log_position(const struct engine_position *position, uint64_t *ret_byte);
int null_log_open(const struct engine_instance *instance, struct slice begin, uint64_t from,
                  struct engine_log **ret, struct tm_err *err) TM_WUR;
int null_log_next(struct engine_log *log, unsigned timeout_ms, struct engine_log_event *ret,
                  struct tm_err *err) TM_WUR;
void null_log_close(struct engine_log *log);

int null_log_describe(const struct engine_instance *instance, struct engine_log_source *ret,
                      struct tm_err *err) TM_WUR;
int null_log_history(const struct engine_instance *instance, const char *label, struct buf *ret,
                     struct tm_err *err) TM_WUR;
int null_log_read_file(const struct engine_instance *instance, struct slice facts,
                       const char *label, uint64_t from, uint8_t *dst, size_t len,
                       struct tm_err *err) TM_WUR;

int null_proof_open(struct slice begin, struct engine_proof **ret, struct tm_err *err) TM_WUR;
int null_proof_push(struct engine_proof *proof, struct slice bytes, struct tm_err *err) TM_WUR;
int null_proof_end(struct engine_proof *proof, struct slice end, struct tm_err *err) TM_WUR;
void null_proof_close(struct engine_proof *proof);

int null_hold_open(const struct engine_instance *instance, const char *name, bool may_make,
                   struct engine_hold **ret, bool *ret_made, struct tm_err *err) TM_WUR;
int null_hold_look(struct engine_hold *hold, struct engine_hold_state *ret,
                   struct tm_err *err) TM_WUR;
int null_hold_touch(struct engine_hold *hold, uint64_t durable, uint64_t *ret_from,
                    struct tm_err *err) TM_WUR;
int null_hold_drop(struct engine_hold *hold, struct tm_err *err) TM_WUR;
void null_hold_close(struct engine_hold *hold);
int null_hold_list(const struct engine_instance *instance, const char *prefix,
                   struct engine_hold_found *ret, size_t max, size_t *ret_count,
                   struct tm_err *err);

int null_index_open(struct slice facts, uint64_t from, struct engine_log_index **ret,
                    struct tm_err *err) TM_WUR;
int null_index_push(struct engine_log_index *index, struct slice bytes, struct tm_err *err) TM_WUR;
int null_index_take(struct engine_log_index *index, struct engine_index_part *ret,
                    struct tm_err *err) TM_WUR;
void null_index_close(struct engine_log_index *index);
int null_log_last_record(struct slice facts, uint64_t from,
                         int (*read)(void *arg, uint64_t at, struct slice *ret, struct tm_err *),
                         void *arg, uint64_t limit, bool before, uint64_t *ret_record,
                         struct tm_err *err) TM_WUR;
void null_position_text(uint64_t byte, char ret[ENGINE_POSITION_MAX]);
int null_position_parse(const char *text, uint64_t *ret_byte, struct tm_err *err) TM_WUR;

#endif
