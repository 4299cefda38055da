#ifndef TM_AGENT_ENGINE_POSTGRES_SESSION_H
#define TM_AGENT_ENGINE_POSTGRES_SESSION_H
/*
 * The inside of the session side: collecting what the begin blob holds. The session itself is
 * behind agent/engine/engine.h (see pg.h).
 */
#include "agent/engine/engine.h"
#include "agent/engine/postgres/conn.h"
#include "agent/engine/postgres/facts.h"
#include "agent/engine/postgres/snapshot.h"

/* Fills all of *begin but version_num, start_us and start_lsn, which must be set. Called right
 * after the backup was started: pg_control then holds the checkpoint it starts from. */
int pg_begin_collect(const struct engine_instance *instance, struct pg_conn *conn,
                     const struct pg_facts *facts, const char *label, struct pg_begin *begin,
                     struct tm_err *err) TM_WUR;

#endif
