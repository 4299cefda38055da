#ifndef TM_AGENT_ENGINE_POSTGRES_FACTS_H
#define TM_AGENT_ENGINE_POSTGRES_FACTS_H
/*
 * What a session must know of the server behind a connection, and the proof that this server is the
 * one that runs on the instance's data directory.
 *
 * The proof: the server's data_directory resolves to the same place, its system identifier is that
 * of pg_control there, and our backend's parent is the process that postmaster.pid names (or, where
 * /proc cannot show it, the server started at that file's time). Without the last step a connection
 * to another host with the same paths, a standby for example, would look right.
 */
#include <stdbool.h>
#include <stdint.h>

#include "agent/engine/engine.h"
#include "agent/engine/postgres/conn.h"
#include "agent/engine/postgres/control_file.h"
#include "agent/engine/postgres/version.h"

#define FACTS_SETTING_MAX 1024
#define FACTS_ROLE_MAX    136 /* a quoted name of 63 bytes, each doubled */

struct pg_facts {
    const struct pg_version *version;
    uint32_t version_num;
    bool in_recovery;
    uint64_t system_id;
    char role[FACTS_ROLE_MAX]; /* quoted as SQL wants it */
    bool superuser;
    bool replication;
    bool may_start; /* EXECUTE on the start function, and so on */
    bool may_stop;
    bool may_see_settings;
    char data_dir[FACTS_SETTING_MAX]; /* empty when not to be seen */
    char wal_level[16];
    int64_t max_wal_senders;
    int64_t max_replication_slots;
    int64_t used_replication_slots;
    int64_t own_replication_slots; /* lasting ones of ours among them */
    int64_t backend_pid;
    int64_t started_s; /* the server's start */
};

int pg_facts_read(struct pg_conn *conn, struct pg_facts *ret, struct tm_err *err) TM_WUR;

/* Rights, settings, role of the server: what stands in the way of a snapshot. */
int pg_facts_judge(const struct pg_facts *facts, struct tm_err *err) TM_WUR;
/* The same of a log backup: it needs fewer rights, and may run on a standby. */
int pg_facts_judge_log(const struct pg_facts *facts, struct tm_err *err) TM_WUR;

/* Is it the server of this data directory? ret_control: its pg_control. */
int pg_facts_prove(const struct pg_facts *facts, const struct engine_instance *instance,
                   struct pg_conn *conn, struct control_file *ret_control,
                   struct tm_err *err) TM_WUR;

#endif
