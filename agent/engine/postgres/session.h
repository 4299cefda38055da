#ifndef TM_AGENT_ENGINE_POSTGRES_SESSION_H
#define TM_AGENT_ENGINE_POSTGRES_SESSION_H
/*
 * The inside of the session side: the session itself, shared by session.c and resume.c, and collecting
 * what the begin blob holds.
 */
#include "agent/engine/engine.h"
#include "agent/engine/postgres/conn.h"
#include "agent/engine/postgres/facts.h"
#include "agent/engine/postgres/slot.h"
#include "agent/engine/postgres/snapshot.h"

struct engine_session {
    const struct engine_instance *instance; /* borrowed */
    struct pg_conn *conn;
    struct pg_facts facts;
    struct control_file control;
    char *label;
    char slot[PG_SLOT_NAME_MAX]; /* empty before begin */
    uint64_t held_from;          /* where the slot was last put */
    uint32_t timeline;
    bool begun;
    struct pg_begin resumed; /* of a snapshot that was resumed: what its begin says now */
};

/* ---- session.c ---- */

int pg_session_clock(struct engine_session *session, int64_t *ret_us, struct tm_err *err) TM_WUR;
/* pg_backup_start. */
int pg_session_start(struct engine_session *session, bool fast, uint64_t *ret_lsn,
                     struct tm_err *err) TM_WUR;

/* ---- begin.c ---- */

/* What may change while nobody has a session open: pg_control's numbers, history, tablespaces.
 * start_lsn must be set. */
int pg_begin_look(const struct engine_instance *instance, struct pg_conn *conn,
                  struct pg_begin *begin, struct tm_err *err) TM_WUR;

/* Fills all of *begin but version_num, start_us and start_lsn, which must be set. Called right
 * after the backup was started: pg_control then holds the checkpoint it starts from. */
int pg_begin_collect(const struct engine_instance *instance, struct pg_conn *conn,
                     const struct pg_facts *facts, const char *label, struct pg_begin *begin,
                     struct tm_err *err) TM_WUR;

#endif
