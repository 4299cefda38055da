/* Log backups: who streams and who holds, when roles change. */
#include "tests/unit/coordinator/brain/log_stage.h"

static void standbys_hold(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_WORKING, 0x2000);
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL); /* it gets into the record first */
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    struct msg_assignment hold = *desired_job(s);
    assert_int_equal(hold.roles, JOB_ROLE_HOLD);
    assert_int_equal(hold.step, JOB_STEP_RUN);
    assert_string_equal(hold.uid, a.uid);
    assert_string_equal(hold.boot, "boot2");
    assert_int_equal(desired_job(s)->log->checkpoint, 0x2000);
    uint64_t revision = s->reply.desired.revision;
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_WORKING, 0x8000);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(desired_job(s)->log->checkpoint, 0x8000); /* fresh in every answer… */
    assert_int_equal(s->reply.desired.revision, revision);     /* …and no reason to poll */

    struct msg_log_status held = {
        .hold_at = 0x9000, .hold_position = "0/9000", .hold_bytes = 512, .at_risk = true};
    struct msg_job job = log_job(&hold, JOB_STAGE_WORKING, &held);
    beat(s, 11, INSTANCE_STANDBY, 0, &job);
    const struct resource_status *status = status_of(s, "wal");
    assert_int_equal(status->log.hold_count, 2);
    assert_string_equal(status->log.holds[1].node, "db-b");
    assert_string_equal(status->log.holds[1].at, "0/9000");
    assert_true(status->log.holds[1].at_risk);
    assert_int_equal(status->warning_count, 1);
    assert_string_equal(status->warnings[0], "failover at risk: standby 'db-b' keeps less log than "
                                             "a failover to it would need");
    held.at_risk = false;
    struct msg_error error = {.code = TM_E_LIMIT, .text = "all replication slots are in use"};
    held.error = &error;
    beat(s, 11, INSTANCE_STANDBY, 0, &job);
    assert_string_equal(status_of(s, "wal")->warnings[0],
                        "node 'db-b' cannot hold log: all replication slots are in use");
    assert_false(status_of(s, "wal")->has_error);
}

/* A hold is never forgotten: who is away when the task stops is told when he comes back. */
static void holds_are_released(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    apply_log(s, "wal", "  logSubcommand: log-stop\n");
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_STOPPED, 0x8000);
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_STOPPED);
    brain_free(s->brain);
    start(s, 2);
    up(s, 12, "db-b", "boot3", 0);
    beat(s, 12, INSTANCE_PRIMARY, 0, NULL); /* whatever it has become */
    struct msg_assignment hold = *desired_job(s);
    assert_int_equal(hold.roles, JOB_ROLE_HOLD);
    assert_int_equal(hold.step, JOB_STEP_STOP);
    struct msg_job job = job_at(&hold, JOB_STAGE_STOPPED);
    beat(s, 12, INSTANCE_PRIMARY, 0, &job);
    beat(s, 12, INSTANCE_PRIMARY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
}

static void a_standby_is_promoted(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_WORKING, 0x8000);
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    says(s, 10, INSTANCE_STANDBY, &a, JOB_STAGE_WORKING, 0x8000); /* demoted, nobody else yet */
    assert_string_equal(status_of(s, "wal")->node, "db-a");
    assert_string_equal(status_of(s, "wal")->waiting,
                        "waiting for an agent of cluster 'demo1', tenant 'main' with role primary");
    beat(s, 11, INSTANCE_PRIMARY, 0, NULL);
    const struct resource_status *status = status_of(s, "wal");
    assert_string_equal(status->node, "db-b");
    assert_int_equal(status->phase, RESOURCE_RUNNING);
    assert_string_equal(s->log, "Backup/wal: its log is taken from node 'db-b' now, no longer from "
                                "'db-a'");
    beat(s, 11, INSTANCE_PRIMARY, 0, NULL);
    struct msg_assignment b = *desired_job(s);
    assert_string_equal(b.uid, a.uid);
    assert_int_equal(b.attempt, 2);
    assert_int_equal(b.roles, JOB_ROLE_LEAD);
    says(s, 10, INSTANCE_STANDBY, &a, JOB_STAGE_WORKING,
         0xF000); /* the old lead: not listened to */
    assert_int_equal(desired_job(s)->roles, JOB_ROLE_HOLD);
    assert_int_equal(desired_job(s)->attempt, 2);
    assert_int_equal(desired_job(s)->log->checkpoint, 0); /* of which the new one may have less */
    assert_int_equal(status_of(s, "wal")->log.latency_us, 2000000);
    s->mono_us += SEC(3);
    struct msg_log_status nothing = {.lineage = ""}; /* the new lead only begins… */
    struct msg_job job = log_job(&b, JOB_STAGE_STARTING, &nothing);
    beat(s, 11, INSTANCE_PRIMARY, 0, &job);
    status = status_of(s, "wal"); /* …and what was promised stays so, but grows old */
    assert_string_equal(status->log.position, "0/8000");
    assert_string_equal(status->lineage, LINEAGE);
    assert_int_equal(status->log.checkpoint_us, 0x8000 * 1000);
    assert_int_equal(status->log.latency_us, 5000000);
    s->mono_us += SEC(3);
    beat(s, 11, INSTANCE_PRIMARY, 0, &job);
    assert_int_equal(status_of(s, "wal")->log.latency_us, 8000000);
    beat(s, 10, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(desired_job(s)->log->checkpoint, 0);
    says(s, 11, INSTANCE_PRIMARY, &b, JOB_STAGE_WORKING, 0x9000);
    beat(s, 10, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(desired_job(s)->log->checkpoint, 0x9000);
    assert_string_equal(status_of(s, "wal")->log.position, "0/9000");
    assert_int_equal(status_of(s, "wal")->log.latency_us, 2000000);
    assert_string_equal(status_of(s, "wal")->waiting, "");
}

static void a_primary_that_is_lost(void **state)
{
    struct stage *s = *state;
    (void)streams(s, "");
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    struct brain_event event = {.kind = BRAIN_EV_AGENT_GONE};
    event.gone.conn = 10;
    feed(s, &event);
    beat(s, 11, INSTANCE_PRIMARY, 0, NULL); /* it may only be an agent that restarts */
    assert_string_equal(status_of(s, "wal")->node, "db-a");
    s->mono_us += SEC(11);
    beat_of(s, 11, "8000", INSTANCE_PRIMARY, NULL, NULL); /* another database altogether */
    assert_string_equal(status_of(s, "wal")->node, "db-a");
    assert_string_equal(status_of(s, "wal")->waiting,
                        "waiting for an agent of cluster 'demo1', tenant 'main' with role primary; "
                        "node 'db-b' has another identity (acceptIncarnation)");
    beat(s, 11, INSTANCE_PRIMARY, 0, NULL);
    assert_string_equal(status_of(s, "wal")->node, "db-b");
    assert_int_equal(status_of(s, "wal")->attempt, 2);
}

static void a_server_that_is_down(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    beat_of(s, 10, "7000", INSTANCE_UNKNOWN, "connection refused", &job);
    assert_string_equal(status_of(s, "wal")->node, "db-a");
    assert_int_equal(status_of(s, "wal")->phase, RESOURCE_RUNNING);
    beat(s, 11, INSTANCE_PRIMARY, 0, NULL);
    assert_string_equal(status_of(s, "wal")->node, "db-b");
}

static void two_primaries(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "");
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_PRIMARY, 0, NULL);
    static const char want[] =
        "nodes 'db-a' and 'db-b' both say to be primary; the log is taken from 'db-a'";
    assert_string_equal(s->log, "Backup/wal: nodes 'db-a' and 'db-b' both say to be primary; the "
                                "log is taken from 'db-a'");
    assert_int_equal(status_of(s, "wal")->warning_count, 1);
    assert_string_equal(status_of(s, "wal")->warnings[0], want);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    for (int second = 0; second < 60; second++) {
        s->mono_us += SEC(1);
        says(s, 10, INSTANCE_PRIMARY, &a, JOB_STAGE_WORKING, 0x2000 + (uint64_t)second);
        beat(s, 11, INSTANCE_PRIMARY, 0, NULL);
    }
    assert_string_equal(status_of(s, "wal")->node, "db-a");
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(status_of(s, "wal")->warning_count, 0);
}

static void from_a_standby(void **state)
{
    struct stage *s = *state;
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    apply_log(s, "wal", "  logSource: standby\n");
    assert_string_equal(status_of(s, "wal")->waiting,
                        "waiting for an agent of cluster 'demo1', tenant 'main' with role standby");
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    struct msg_assignment b = *desired_job(s);
    assert_int_equal(b.roles, JOB_ROLE_LEAD);
    assert_true(desired_job(s)->log->from_standby);
    says(s, 11, INSTANCE_STANDBY, &b, JOB_STAGE_WORKING, 0x2000);
    assert_int_equal(status_of(s, "wal")->warning_count, 0);
    tick(s, SEC(11));                       /* both are silent */
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL); /* no standby is left: better the primary than no log */
    assert_string_equal(status_of(s, "wal")->node, "db-a");
    assert_string_equal(
        status_of(s, "wal")->warnings[0],
        "the log is taken from the primary 'db-a', as it was promoted or no standby "
        "is there");
}

static void an_identity_that_is_meant(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = streams(s, "  acceptIncarnation: true\n");
    beat_of(s, 10, "8000", INSTANCE_PRIMARY, NULL, NULL); /* pg_upgrade */
    beat_of(s, 10, "8000", INSTANCE_PRIMARY, NULL, NULL);
    assert_string_equal(desired_job(s)->identity, "8000");
    assert_int_equal(desired_job(s)->attempt, 2);
    assert_string_equal(desired_job(s)->uid, a.uid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(standbys_hold),         SCENE(holds_are_released),
        SCENE(a_standby_is_promoted), SCENE(a_primary_that_is_lost),
        SCENE(a_server_that_is_down), SCENE(two_primaries),
        SCENE(from_a_standby),        SCENE(an_identity_that_is_meant),
    };
    return cmocka_run_group_tests_name("coordinator/brain/log_leads", tests, NULL, NULL);
}
