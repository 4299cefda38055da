#ifndef TM_COORDINATOR_BRAIN_LOGS_H
#define TM_COORDINATOR_BRAIN_LOGS_H
/* Inside the coordinator's brain: what the files of log backups (logs.c, log_*.c) offer. See internal.h. */
#include "coordinator/brain/parts.h"

/* ---- logs.c ---- */

#define LOG_RETRY_MIN_US UINT64_C(10000000) /* phase FAIL, doubled each time … */
#define LOG_RETRY_MAX_US UINT64_C(300000000)
#define LOG_CALM_US      INT64_C(600000000) /* … until it held out so long */
#define LOG_NOTE_US      UINT64_C(60000000) /* progress goes into the record this often */
#define LOG_STUCK_US     UINT64_C(8000000)  /* beyond flushInterval: the checkpoint is stuck */

bool log_is(const struct res *res);
/* Stopped, nobody holds anything, nothing is left to be truncated or removed: whoever did that would
 * drop its hold again, and with it one of another task of the same name. */
bool log_at_rest(const struct res *res);
bool log_truncating(const struct res *res);
/* Also when it is Stopped: there is log to truncate, to remove, or to look into. */
bool log_works_on(const struct res *res);
int log_live_new(struct brain *b, struct live *live);
void log_live_free(struct log_live *log);
void log_tick(struct brain *b, struct res *res);
void log_durable(struct brain *b, struct res *res);
void log_restart(struct brain *b, struct res *res, struct record *next);

/* ---- log_wish.c ---- */

/* The new record of a log backup gets what only those have. */
void log_created(struct brain *b, struct res *res, struct record *next, const struct view *v);
/* Whether the spec may change so while the task is there. */
int log_may_configure(const struct brain *b, const struct res *res, const struct view *v,
                      struct tm_err *err) TM_WUR;
/* Other storages with kept backups of the instance whose log it is, also those that no resource tells of: the
 * newest backup of each, newest first. What gets into the newest gets into the place. */
struct log_place {
    const char *storage;
    const char *secret;
    int64_t started_us;
};
struct log_places {
    struct log_place items[WIRE_PLACES_MAX];
    size_t count;
    bool more; /* there are others, where nobody looks */
};
void log_places(const struct brain *b, const struct res *res, struct log_places *ret);
/* An agent that truncates sees the backups in the log's own storage and in those. What lies in yet another
 * is known here alone: a backup that began before `until` would lose its way on. */
int log_may_truncate(const struct brain *b, const struct res *res, const char *until, bool force,
                     struct tm_err *err) TM_WUR;
void log_configured(struct brain *b, struct res *res, struct record *next, const struct view *v);
/* Another task stores the same log at the same place. skip may be NULL. */
int log_conflict(const struct brain *b, const struct view *v, const struct res *skip,
                 struct tm_err *err) TM_WUR;
/* A task that is not Stopped, and stores the log that `v` would at the same place. */
bool log_same_place(const struct res *other, const struct view *v);
/* For a snapshot that starts now. */
bool log_is_shared(const struct brain *b, const char *cluster, const char *tenant,
                   const char *storage);
/* Resume what failed, or truncate once more. */
int log_retry(struct brain *b, struct res *res, uint64_t cmd, struct tm_err *err) TM_WUR;
uint32_t log_roles(const struct res *res, const struct node *node);
void log_assign(struct brain *b, const struct res *res, const struct node *node, uint32_t roles,
                struct msg_assignment *to);

/* "" for NULL, as a record has what is not there. */
const char *log_text(const char *text);
/* Whether the spec's wish to truncate is another one than the record's. */
bool log_wishes_anew(const struct log_record *log, const struct view *v);
/* It is Fail, or could not truncate: there is something to be tried again. */
bool log_failed(const struct res *res);
/* Into the staged record: that is tried again. */
void log_again(struct brain *b, struct res *res, struct record *next);

/* ---- log_parts.c ---- */

/* A log backup of one tenant whose cluster has more by now becomes one of several. True: that is under way. */
bool log_split(struct brain *b, struct res *res);
/* The change that is staged does that; the part's record, and what becomes true with it. */
bool log_splits(const struct res *res);
/* What it was alone, it is as a part. Borrows from res. */
void log_split_part(const struct res *res, struct record *ret);
void log_split_put(struct brain *b, const struct res *res, struct brain_put *ret);
void log_split_done(struct brain *b, struct res *res);
/* A whole: what is wished, who joins, whether all is stopped. */
void log_parts_tick(struct brain *b, struct res *res, struct res *const *parts, size_t count);
/* A part takes over what was wished of the whole. True: a change is under way. */
bool log_part_follow(struct brain *b, struct res *res);
bool log_parts_failed(struct res *const *parts, size_t count);
int log_parts_may_truncate(const struct brain *b, const struct res *res, const char *until,
                           bool force, struct tm_err *err) TM_WUR;

/* ---- log_part_status.c ---- */

/* A whole whose parts' status is filled. */
void log_parts_fill(const struct brain *b, const struct res *res, struct res *const *parts,
                    size_t count);

/* ---- log_leads.c ---- */

/* Who is to stream: NULL, and waiting says for whom. */
struct node *log_lead_pick(struct brain *b, struct res *res,
                           const struct msg_instance **ret_instance);
/* Who truncates for a task that is Stopped: the lead, or any node of the tenant. */
struct node *log_truncator_pick(struct brain *b, struct res *res,
                                const struct msg_instance **ret_instance);
/* Whether the lead is to stay, be it only because nothing better is known yet. */
bool log_lead_stays(const struct brain *b, const struct res *res);
/* Another node that says to be primary while the lead is; NULL = none. */
const struct node *log_second_primary(const struct brain *b, const struct res *res);

/* ---- log_holders.c ---- */

/* Who may hold log, by name; and a node of the task's cluster. */
bool log_holder_is(const struct log_record *log, const char *name);
bool log_holds(const struct res *res, const struct node *node);
/* Into, and out of, the staged record. */
void log_holder_add(struct brain *b, struct res *res, struct record *next, const char *name);
void log_holder_drop(struct record *next, const char *name);
/* Standbys that are there and not in the record; those that said to hold nothing any more. True when a
 * change is under way. */
bool log_holders_take(struct brain *b, struct res *res);
bool log_holders_released(struct brain *b, struct res *res);

/* ---- log_report.c ---- */

void log_report(struct brain *b, struct res *res, struct node *node, const struct msg_job *report);

/* ---- log_query.c ---- */

bool log_asked(const struct res *res);
/* The command is answered by an agent, or with an error after a while. */
int log_ask(struct brain *b, struct res *res, uint64_t cmd, const struct msg_log_query *query,
            struct tm_err *err) TM_WUR;
void log_answered(struct brain *b, struct res *res, const struct msg_log_answer *answer);
/* Nobody will answer what is asked, when something is. */
void log_unanswered(struct brain *b, struct res *res, enum tm_err_code code, const char *why);
void log_query_tick(struct brain *b, struct res *res);

/* ---- log_attempts.c ---- */

/* What is durable now. */
void log_attempt_note(struct brain *b, const struct record *rec);
/* The attempt with which a task that has this cluster and tenant begins. */
uint32_t log_attempt_next(struct brain *b, const struct record *rec);

/* ---- log_status.c ---- */

void log_fill(const struct brain *b, const struct res *res);

#endif
