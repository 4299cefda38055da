/* Who is given which ranges of a snapshot: primary, standbys, both. */
#include "tests/unit/coordinator/brain/stage.h"

/* Range 0 and 3 are the primary's alone. */
static void plan_of_four(struct stage *s, const struct msg_assignment *a)
{
    static const char *keys[] = {"", "b", "c", "d"};
    struct msg_plan_range plan[4];
    struct message m = {.type = MESSAGE_plan_ranges};
    for (uint32_t at = 0; at < 4; at++)
        plan[at] = (struct msg_plan_range){.start = slice_str(keys[at]),
                                           .end = at < 3 ? slice_str(keys[at + 1]) : SLICE_EMPTY,
                                           .bytes = 100,
                                           .anywhere = at == 1 || at == 2};
    memcpy(m.plan_ranges.uid, a->uid, sizeof(a->uid));
    m.plan_ranges.attempt = a->attempt;
    m.plan_ranges.ranges = plan;
    m.plan_ranges.ranges_count = 4;
    m.plan_ranges.last = true;
    ask(s, 10, &m);
}

/* db-a leads on connection 10; db-b, a standby, is on 11. */
static struct msg_assignment begin(struct stage *s, const char *from)
{
    char yaml[400];
    (void)snprintf(yaml, sizeof(yaml), BACKUP("") "  backupFrom: %s\n", from);
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    up(s, 11, "db-b", "boot2", 0);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    apply(s, yaml);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    struct msg_assignment a = *desired_job(s);
    plan_of_four(s, &a);
    assert_int_equal(status_of(s, "b")->phase, RESOURCE_RUNNING);
    return a;
}

static void granted(struct stage *s, uint64_t conn, const struct msg_assignment *a, uint32_t wanted,
                    const char *ranges)
{
    char got[64] = "";
    want(s, conn, a, wanted);
    for (size_t at = 0; at < s->reply.ranges.leases_count; at++)
        (void)snprintf(got + strlen(got), sizeof(got) - strlen(got), "%u ",
                       s->reply.ranges.leases[at].range);
    assert_string_equal(got, ranges);
}

static void the_primary_alone(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = begin(s, "primary");
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    granted(s, 10, &a, 8, "0 1 2 3 ");
}

static void whoever_is_quick(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = begin(s, "any");
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(desired_job(s)->roles, JOB_ROLE_WORKER);
    granted(s, 11, &a, 1, "1 ");
    granted(s, 10, &a, 8, "0 2 3 ");
    granted(s, 11, &a, 8, "");
}

static void standbys_first(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = begin(s, "prefer-standby");
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    assert_int_equal(desired_job(s)->roles, JOB_ROLE_WORKER);
    granted(s, 10, &a, 8, "0 3 ");
    granted(s, 11, &a, 8, "1 2 ");
    assert_int_equal(done(s, 11, &a, 1, 1, 3), VERDICT_ACCEPTED);
    assert_int_equal(done(s, 10, &a, 0, 1, 1), VERDICT_ACCEPTED);
    const struct resource_status *status = status_of(s, "b");
    assert_int_equal(status->share_count, 2);
    assert_string_equal(status->shares[0].node, "db-b");
    assert_int_equal(status->shares[0].ranges, 1);
    assert_int_equal(status->shares[0].bytes, 100);
    assert_string_equal(status->shares[1].node, "db-a");
}

/* One that takes nothing for half a minute is not waited for. */
static void a_standby_that_takes_nothing(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = begin(s, "prefer-standby");
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    granted(s, 10, &a, 8, "0 3 ");
    tick(s, 29000000);
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    struct msg_lease held[] = {{.range = 0, .term = 1, .counter = 1},
                               {.range = 3, .term = 1, .counter = 2}};
    job.leases = held;
    job.leases_count = 2;
    beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    granted(s, 10, &a, 8, "");
    tick(s, 1000001);
    granted(s, 10, &a, 8, "1 2 ");
}

/* One that is gone is not waited for at all; its ranges lapse and go to the primary. */
static void a_standby_that_is_lost(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = begin(s, "prefer-standby");
    beat(s, 11, INSTANCE_STANDBY, 0, NULL);
    granted(s, 11, &a, 8, "1 2 ");
    granted(s, 10, &a, 8, "0 3 ");
    gone(s, 11);
    for (int second = 0; second < 11; second++) {
        struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
        struct msg_lease held[] = {{.range = 0, .term = 1, .counter = 3},
                                   {.range = 3, .term = 1, .counter = 4}};
        job.leases = held;
        job.leases_count = 2;
        tick(s, 1000000);
        beat(s, 10, INSTANCE_PRIMARY, 0, &job);
    }
    granted(s, 10, &a, 8, "1 2 ");
    assert_int_equal(done(s, 10, &a, 1, 1, 5), VERDICT_ACCEPTED);
}

/* Another system, or one whose agent cannot see it. */
static void not_every_standby(void **state)
{
    struct stage *s = *state;
    struct msg_assignment a = begin(s, "any");
    up(s, 12, "db-c", "boot3", 0);
    beat_as(s, 12, INSTANCE_STANDBY, 0, "7777", NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    beat_as(s, 12, INSTANCE_PRIMARY, 0, "7000", NULL);
    assert_int_equal(s->reply.desired.jobs_count, 0);
    beat_as(s, 12, INSTANCE_STANDBY, 0, "7000", NULL);
    assert_int_equal(desired_job(s)->roles, JOB_ROLE_WORKER);
    assert_string_equal(desired_job(s)->uid, a.uid);
}

#define MANY 100

static void plan_of_many(struct stage *s, const struct msg_assignment *a)
{
    char keys[MANY + 2][8] = {""};
    struct msg_plan_range plan[MANY + 1];
    struct message m = {.type = MESSAGE_plan_ranges};
    for (uint32_t at = 0; at <= MANY; at++) {
        if (at < MANY)
            (void)snprintf(keys[at + 1], sizeof(keys[0]), "k%03u", at);
        plan[at] = (struct msg_plan_range){.start = slice_str(keys[at]),
                                           .end = slice_str(keys[at + 1]),
                                           .bytes = 100,
                                           .anywhere = true};
    }
    memcpy(m.plan_ranges.uid, a->uid, sizeof(a->uid));
    m.plan_ranges.attempt = a->attempt;
    m.plan_ranges.ranges = plan;
    m.plan_ranges.ranges_count = MANY + 1;
    m.plan_ranges.last = true;
    ask(s, 10, &m);
    assert_true(s->reply.plan_ack.done);
}

/* What each of very many nodes reads is told, and each keeps the job to its end, also one that is promoted. */
static void very_many_nodes(void **state)
{
    struct stage *s = *state;
    char node[16];
    up(s, 10, "db-a", "boot1", 0);
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    apply(s, BACKUP("") "  backupFrom: any\n");
    beat(s, 10, INSTANCE_PRIMARY, 0, NULL);
    struct msg_assignment a = *desired_job(s);
    plan_of_many(s, &a);
    struct msg_job job = job_at(&a, JOB_STAGE_WORKING);
    for (uint32_t at = 0; at < MANY; at++) {
        (void)snprintf(node, sizeof(node), "node-%03u", at);
        up(s, 100 + at, node, "boot", 0);
        beat(s, 100 + at, INSTANCE_STANDBY, 0, NULL);
        assert_int_equal(desired_job(s)->roles, JOB_ROLE_WORKER);
        want(s, 100 + at, &a, 1);
        assert_int_equal(s->reply.ranges.leases_count, 1);
        assert_int_equal(s->reply.ranges.leases[0].range, at);
        assert_int_equal(done(s, 100 + at, &a, at, 1, at + 1), VERDICT_ACCEPTED);
        beat(s, 100 + at, INSTANCE_STANDBY, 0, &job);
    }
    const struct resource_status *status = status_of(s, "b");
    assert_int_equal(status->share_count, MANY);
    for (uint32_t at = 0; at < MANY; at++) {
        (void)snprintf(node, sizeof(node), "node-%03u", at);
        assert_string_equal(status->shares[at].node, node);
        assert_int_equal(status->shares[at].ranges, 1);
        assert_int_equal(status->shares[at].bytes, 100);
        beat(s, 100 + at, INSTANCE_PRIMARY, 0, &job);
        assert_int_equal(desired_job(s)->roles, JOB_ROLE_WORKER);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(the_primary_alone),      SCENE(whoever_is_quick),
        SCENE(standbys_first),         SCENE(a_standby_that_takes_nothing),
        SCENE(a_standby_that_is_lost), SCENE(not_every_standby),
        SCENE(very_many_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
