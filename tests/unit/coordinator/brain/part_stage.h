#ifndef TM_TESTS_UNIT_COORDINATOR_BRAIN_PART_STAGE_H
#define TM_TESTS_UNIT_COORDINATOR_BRAIN_PART_STAGE_H
/* A cluster of two tenants on the stage: "main" on node db-a (connection 10), "second" on db-b (11). */
#include "coordinator/brain/internal.h"
#include "tests/unit/coordinator/brain/log_stage.h"

static TM_UNUSED const char *tenant_on(uint64_t conn)
{
    return conn == 10 ? "main" : "second";
}

static TM_UNUSED void say(struct stage *s, uint64_t conn, enum instance_role role,
                          struct msg_job *job)
{
    struct msg_instance instance = {.engine = "mock", .role = role};
    (void)snprintf(instance.tenant, sizeof(instance.tenant), "%s", tenant_on(conn));
    (void)snprintf(instance.identity, sizeof(instance.identity), "70%d", (int)conn);
    struct message m = {.type = MESSAGE_heartbeat};
    m.heartbeat.instances = &instance;
    m.heartbeat.instances_count = 1;
    m.heartbeat.jobs = job;
    m.heartbeat.jobs_count = job != NULL;
    ask(s, conn, &m);
}

static TM_UNUSED void both_up(struct stage *s)
{
    up(s, 10, "db-a", "boot1", 0);
    up(s, 11, "db-b", "boot2", 0);
    say(s, 10, INSTANCE_PRIMARY, NULL);
    say(s, 11, INSTANCE_PRIMARY, NULL);
}

static TM_UNUSED bool stored(const struct stage *s, const char *key)
{
    for (size_t at = 0; at < s->record_count; at++) {
        if (strcmp((const char *)s->records[at].data, key) == 0)
            return true;
    }
    return false;
}

static TM_UNUSED struct record record_of(const struct stage *s, const char *key,
                                         struct codec_arena *arena)
{
    struct record rec = {0};
    struct tm_err err;
    for (size_t at = 0; at < s->record_count; at++) {
        size_t len = strlen((const char *)s->records[at].data);
        if (strcmp((const char *)s->records[at].data, key) == 0)
            assert_int_equal(
                codec_decode(&record_codec,
                             slice_of(s->records[at].data + len + 1, s->records[at].len - len - 1),
                             arena, &rec, &err),
                0);
    }
    assert_true(rec.name[0] != '\0');
    return rec;
}

static TM_UNUSED void restart(struct stage *s)
{
    uint64_t term = brain_term(s->brain);
    brain_free(s->brain);
    start(s, term + 1);
}

#endif
