#ifndef TM_AGENT_ENGINE_POSTGRES_SLOT_H
#define TM_AGENT_ENGINE_POSTGRES_SLOT_H
/*
 * Physical replication slots as holds: made and moved by SQL, never by a stream's flush position,
 * which would make the stream eligible as a synchronous standby.
 *
 * A connection that is lost gives TM_E_UNAVAILABLE, retryable, as always.
 */
#include <stdbool.h>
#include <stdint.h>

#include "agent/engine/postgres/conn.h"

#define PG_SLOT_NAME_MAX 64

/* Makes one that keeps log from now on. TM_E_EXISTS when the name is taken; TM_E_UNAVAILABLE
 * (retryable) with max_replication_slots and its value when all are in use; TM_E_PERMISSION with
 * the statement to run. */
int pg_slot_make(struct pg_conn *conn, const char *name, bool temporary, uint64_t *ret_from,
                 struct tm_err *err) TM_WUR;
struct pg_slot_state {
    bool found;
    bool physical;
    bool temporary;
    bool lost;     /* the server gave it up: log from `from` on may be gone */
    uint64_t from; /* log is kept from here on; 0 when that is not said any more */
};
int pg_slot_look(struct pg_conn *conn, const char *name, struct pg_slot_state *ret,
                 struct tm_err *err) TM_WUR;
int pg_slot_drop(struct pg_conn *conn, const char *name, struct tm_err *err) TM_WUR;
/* Log before `to` is not needed any more; `to` must not lie before where the slot stands.
 * *ret_from: where it stands now, which may be less. */
int pg_slot_advance(struct pg_conn *conn, const char *name, uint64_t to, uint64_t *ret_from,
                    struct tm_err *err) TM_WUR;

#endif
