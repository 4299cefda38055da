/* Credentials on the agent: to whom they go, what is kept of them, and what happens without. */
#include "tests/unit/agent/brain/log_stage.h"

static struct msg_pair pairs[] = {{.name = "access_key", .value = {(const uint8_t *)"AK", 2}},
                                  {.name = "secret_key", .value = {(const uint8_t *)"SK", 2}}};
static struct msg_secret sent = {.name = "s3-secret", .pairs = pairs, .pairs_count = 2};
static struct msg_secret other;

static void desire_with(struct stage *s, uint64_t revision, enum job_role role,
                        struct msg_secret *secret)
{
    struct msg_assignment a = wanted(role, JOB_STEP_RUN, 1);
    a.secret = secret;
    desire(s, revision, &a);
}

/* Makes `other` say why there are no credentials. */
static void refuse(enum tm_err_code code, bool retryable)
{
    static struct msg_error error;
    error = (struct msg_error){
        .code = code, .text = "there is no secret 's3-secret'", .retryable = retryable};
    other = (struct msg_secret){.name = "s3-secret", .error = &error};
}

/* Makes `other` have another value. */
static void renew(void)
{
    static struct msg_pair fresh[2];
    fresh[0] = pairs[0];
    fresh[1] = pairs[1];
    fresh[1].value = slice_str("new");
    other = (struct msg_secret){.name = "s3-secret", .pairs = fresh, .pairs_count = 2};
}

static struct stage *begin(void **state, enum job_role role, struct msg_secret *secret)
{
    struct stage *s = *state;
    connect_to(s, 4);
    desire_with(s, 1, role, secret);
    return s;
}

static struct stage *begin_working(void **state)
{
    struct stage *s = begin(state, JOB_ROLE_LEAD, &sent);
    ready(s, 1);
    status(s, 1, JOB_STAGE_WORKING, 100);
    return s;
}

static void the_runner_gets_them(void **state)
{
    struct stage *s = begin(state, JOB_ROLE_LEAD, &sent);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    const struct msg_secret *told = s->told[FRAME_job].job.secret;
    assert_non_null(told);
    assert_string_equal(told->name, "s3-secret");
    assert_int_equal(told->pairs_count, 2);
    assert_string_equal(told->pairs[1].name, "secret_key");
    assert_memory_equal(told->pairs[1].value.data, "SK", 2);
    assert_true(s->told[FRAME_job].arena.wipe);
}

static void only_names_are_kept(void **state)
{
    struct stage *s = begin(state, JOB_ROLE_LEAD, &sent);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 1);
    const struct msg_assignment *kept = s->last[AGENT_ACT_STORE_LOG_JOBS].store_log_jobs.jobs;
    assert_string_equal(kept->secret->name, "s3-secret");
    assert_int_equal(kept->secret->pairs_count, 0);
    assert_null(kept->secret->error);
    desire_with(s, 2, JOB_ROLE_LEAD, &sent);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 0); /* nothing new to keep */
}

static void a_standby_needs_none(void **state)
{
    refuse(TM_E_NOT_FOUND, true);
    struct stage *s = begin(state, JOB_ROLE_HOLD, &other);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_null(s->told[FRAME_job].job.secret);
}

static void another_value_gives_another_runner(void **state)
{
    struct stage *s = begin_working(state);
    renew();
    desire_with(s, 2, JOB_ROLE_LEAD, &sent);
    assert_int_equal(s->sent[FRAME_stop], 0);
    desire_with(s, 3, JOB_ROLE_LEAD, &other);
    assert_int_equal(s->sent[FRAME_stop], 1);
    assert_int_equal(reported(s)->stage, JOB_STAGE_WORKING);
    assert_int_equal(reported(s)->log->durable, 100);
    exited(s, 1);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_memory_equal(s->told[FRAME_job].job.secret->pairs[1].value.data, "new", 3);
    ready(s, 2);
    status(s, 2, JOB_STAGE_WORKING, 120);
    desire_with(s, 4, JOB_ROLE_LEAD, NULL); /* agents are to use their own from now on */
    assert_int_equal(s->sent[FRAME_stop], 1);
    exited(s, 2);
    assert_null(s->told[FRAME_job].job.secret);
}

static void taken_away_while_it_streams(void **state)
{
    struct stage *s = begin_working(state);
    refuse(TM_E_NOT_FOUND, true);
    desire_with(s, 2, JOB_ROLE_LEAD, &other);
    assert_int_equal(s->sent[FRAME_stop], 0);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_KILL], 0);
    assert_null(reported(s)->log->error);
    exited(s, 1); /* the next runner would not get in */
    tick(s, SEC(5));
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    assert_int_equal(reported(s)->stage, JOB_STAGE_WORKING);
    assert_non_null(reported(s)->log->error);
}

static void waits_for_what_may_come(void **state)
{
    refuse(TM_E_NOT_FOUND, true);
    struct stage *s = begin(state, JOB_ROLE_LEAD, &other);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    const struct msg_job *told = reported(s);
    assert_int_equal(told->stage, JOB_STAGE_STARTING);
    assert_string_equal(told->log->error->stage, "credentials");
    assert_string_equal(told->log->error->text, "there is no secret 's3-secret'");
    desire_with(s, 2, JOB_ROLE_LEAD, &sent);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
}

static void fails_for_what_will_not(void **state)
{
    refuse(TM_E_REFUSED, false);
    struct stage *s = begin(state, JOB_ROLE_LEAD, &other);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    const struct msg_job *told = reported(s);
    assert_int_equal(told->stage, JOB_STAGE_FAILED);
    assert_int_equal(told->error->code, TM_E_REFUSED);
    assert_string_equal(told->error->stage, "credentials");
}

/* ---- after a restart ---- */

static struct msg_secret name_only = {.name = "s3-secret"};

/* A stage whose agent kept a log job with `params` and the name of this secret. */
static struct stage *restarted(struct msg_secret *secret, bool own_credentials)
{
    struct msg_assignment a = wanted(JOB_ROLE_LEAD, JOB_STEP_RUN, 1);
    a.secret = secret;
    struct agent_writer writers[] = {{.uid = "00bb", .term = 3, .attempt = 1, .runners = 7}};
    const struct agent_brain_config kept = {.writers = writers,
                                            .writer_count = 1,
                                            .log_jobs = &a,
                                            .log_job_count = 1,
                                            .log_jobs_term = 3,
                                            .own_credentials = own_credentials};
    return stage_new(&kept);
}

static int restarted_setup(void **state)
{
    params = (struct msg_log_params){.flush_ms = 5000};
    *state = restarted(&name_only, false);
    return 0;
}

static void waits_for_the_coordinator(void **state)
{
    struct stage *s = *state;
    look(s, INSTANCE_PRIMARY, "7000");
    tick(s, SEC(5));
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    assert_int_equal(agent_brain_job_count(s->brain), 1);
    connect_to(s, 4);
    const struct msg_job *told = &s->asked[MESSAGE_heartbeat].heartbeat.jobs[0];
    assert_int_equal(s->asked[MESSAGE_heartbeat].heartbeat.jobs_count, 1);
    assert_string_equal(told->log->error->stage, "credentials");
    assert_string_equal(told->log->error->text,
                        "secret 's3-secret' comes from the coordinator, which was not reached "
                        "since the agent was started");
    desire_with(s, 1, JOB_ROLE_LEAD, &sent);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_int_equal(s->told[FRAME_job].job.secret->pairs_count, 2);
}

static int own_setup(void **state)
{
    params = (struct msg_log_params){.flush_ms = 5000};
    *state = restarted(&name_only, true);
    return 0;
}

static void goes_on_with_its_own(void **state)
{
    struct stage *s = *state;
    look(s, INSTANCE_PRIMARY, "7000");
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_null(s->told[FRAME_job].job.secret);
    ready(s, 1);
    connect_to(s, 4);
    desire_with(s, 1, JOB_ROLE_LEAD, &sent);
    assert_int_equal(s->sent[FRAME_stop], 1); /* the next one has what the coordinator sent */
    exited(s, 1);
    assert_int_equal(s->told[FRAME_job].job.secret->pairs_count, 2);
}

/* ---- other storages that a log job looks into ---- */

static struct msg_log_place places[2];

/* Of the first place, as the runner is told. */
static const struct msg_secret *told_place(struct stage *s)
{
    const struct msg_log_params *log = s->told[FRAME_log_want].log_want.log;
    assert_int_equal(log->places_count, 2);
    assert_string_equal(log->places[0].storage, "s3://fulls");
    assert_string_equal(log->places[1].storage, "file:///fulls");
    assert_null(log->places[1].secret);
    return log->places[0].secret;
}

static void desire_place(struct stage *s, uint64_t revision, struct msg_secret *secret)
{
    places[0] = (struct msg_log_place){.storage = "s3://fulls", .secret = secret};
    places[1] = (struct msg_log_place){.storage = "file:///fulls"};
    params.places = places;
    params.places_count = 2;
    desire_with(s, revision, JOB_ROLE_LEAD, NULL);
}

/* It reaches the runner that is there, and only its name is kept. */
static void a_place_has_its_own(void **state)
{
    struct stage *s = *state;
    connect_to(s, 4);
    desire_place(s, 1, &sent);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 1);
    const struct msg_assignment *kept = s->last[AGENT_ACT_STORE_LOG_JOBS].store_log_jobs.jobs;
    assert_int_equal(kept->log->places_count, 2);
    assert_string_equal(kept->log->places[0].secret->name, "s3-secret");
    assert_int_equal(kept->log->places[0].secret->pairs_count, 0);
    assert_null(kept->log->places[1].secret);
    ready(s, 1);
    assert_string_equal(told_place(s)->name, "s3-secret");
    assert_int_equal(told_place(s)->pairs_count, 2);
    assert_memory_equal(told_place(s)->pairs[1].value.data, "SK", 2);
    assert_true(s->told[FRAME_log_want].arena.wipe);
    desire_place(s, 2, &sent);
    assert_int_equal(s->sent[FRAME_log_want], 0);
    renew();
    desire_place(s, 3, &other);
    assert_int_equal(s->sent[FRAME_log_want], 1);
    assert_int_equal(s->sent[FRAME_stop], 0);
    assert_int_equal(s->did[AGENT_ACT_STORE_LOG_JOBS], 0);
    assert_memory_equal(told_place(s)->pairs[1].value.data, "new", 3);
    refuse(TM_E_NOT_FOUND, true); /* the task goes on without */
    desire_place(s, 4, &other);
    assert_int_equal(s->sent[FRAME_log_want], 1);
    assert_int_equal(s->sent[FRAME_stop], 0);
    assert_int_equal(told_place(s)->pairs_count, 0);
    assert_string_equal(told_place(s)->error->text, "there is no secret 's3-secret'");
}

static struct stage *kept_place(bool own_credentials)
{
    struct msg_log_place kept_places[] = {{.storage = "s3://fulls", .secret = &name_only},
                                          {.storage = "file:///fulls"}};
    params = (struct msg_log_params){
        .flush_ms = 5000, .places = kept_places, .places_count = TM_ARRAY_LEN(kept_places)};
    struct stage *s = restarted(NULL, own_credentials);
    params = (struct msg_log_params){.flush_ms = 5000};
    return s;
}

/* Streaming does not wait for what gets into another storage. */
static void a_place_waits_for_the_coordinator(void **state)
{
    struct stage *s = kept_place(false);
    *state = s;
    look(s, INSTANCE_PRIMARY, "7000");
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    ready(s, 1);
    assert_string_equal(told_place(s)->error->text,
                        "secret 's3-secret' comes from the coordinator, which was not reached "
                        "since the agent was started");
    tick(s, SEC(1));
    assert_int_equal(s->sent[FRAME_log_want], 0); /* nothing new */
    connect_to(s, 4);
    desire_place(s, 1, &sent);
    assert_int_equal(s->sent[FRAME_log_want], 1);
    assert_int_equal(s->sent[FRAME_stop], 0);
    assert_int_equal(told_place(s)->pairs_count, 2);
}

static void a_place_is_read_with_the_hosts_own(void **state)
{
    struct stage *s = kept_place(true);
    *state = s;
    look(s, INSTANCE_PRIMARY, "7000");
    ready(s, 1);
    assert_null(told_place(s));
}

/* ---- jobs that end ---- */

static struct msg_assignment backup(enum job_step step, struct msg_secret *secret)
{
    struct msg_assignment a = backup_wanted(step);
    a.storage = "s3://bucket";
    a.secret = secret;
    return a;
}

static void a_backup_fails_before_it_begins(void **state)
{
    struct stage *s = *state;
    refuse(TM_E_REFUSED, false);
    struct msg_assignment a = backup(JOB_STEP_PREPARE, &other);
    connect_to(s, 4);
    desire(s, 1, &a);
    assert_int_equal(s->did[AGENT_ACT_SESSION_BEGIN], 0);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    const struct msg_job *told = reported(s);
    assert_int_equal(told->stage, JOB_STAGE_FAILED);
    assert_string_equal(told->error->stage, "credentials");
    assert_string_equal(told->error->text, "there is no secret 's3-secret'");
    a = backup(JOB_STEP_ABORT, &other);
    desire(s, 2, &a);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    assert_int_equal(reported(s)->stage, JOB_STAGE_SWEPT); /* nothing was stored */
}

/* A deletion without credentials is tried as often as one whose runner fails, and no oftener. */
static void a_deletion_counts_its_tries(void **state)
{
    struct stage *s = *state;
    refuse(TM_E_NOT_FOUND, true);
    struct msg_assignment a = backup(JOB_STEP_RUN, &other);
    a.kind = JOB_KIND_DELETE;
    connect_to(s, 4);
    desire(s, 1, &a);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 0);
    const struct msg_job *told = reported(s);
    assert_int_equal(told->stage, JOB_STAGE_FAILED);
    uint32_t tries = told->runner_restarts;
    tick(s, SEC(60));
    tick(s, SEC(60));
    assert_true(reported(s)->runner_restarts > tries);
    a = backup(JOB_STEP_RUN, &sent);
    a.kind = JOB_KIND_DELETE;
    desire(s, 2, &a);
    tick(s, SEC(60));
    assert_int_equal(s->sent[FRAME_job], 1);
    assert_int_equal(s->told[FRAME_job].job.secret->pairs_count, 2);
}

static void a_restore_has_two(void **state)
{
    struct stage *s = *state;
    struct msg_pair full[] = {{.name = "AZURE_STORAGE_KEY", .value = slice_str("azure")}};
    struct msg_secret second = {.name = "az", .pairs = full, .pairs_count = 1};
    struct msg_restore_params restore = {.source_cluster = "demo1",
                                         .source_tenant = "main",
                                         .data_dir = "/restore/x",
                                         .full_storage = "azblob://container"};
    struct msg_assignment a = backup(JOB_STEP_RUN, &sent);
    a.kind = JOB_KIND_RESTORE;
    a.roles = JOB_ROLE_LEAD;
    a.backup = NULL;
    a.restore = &restore;
    a.full_secret = &second;
    connect_to(s, 4);
    desire(s, 1, &a);
    assert_int_equal(s->did[AGENT_ACT_RUNNER_SPAWN], 1);
    assert_string_equal(s->told[FRAME_job].job.secret->name, "s3-secret");
    assert_string_equal(s->told[FRAME_job].job.full_secret->name, "az");
    assert_memory_equal(s->told[FRAME_job].job.full_secret->pairs[0].value.data, "azure", 5);
}

/* ---- how requests go ---- */

static void storage_is_told(void **state)
{
    struct stage *s = *state;
    struct msg_storage_stats stats = {
        .requests = 9, .retries = 2, .slow_downs = 1, .limit = 8, .limit_max = 16, .skew_us = -7};
    struct msg_assignment a = backup(JOB_STEP_PREPARE, &sent);
    connect_to(s, 4);
    desire(s, 1, &a);
    assert_ptr_equal(reported(s)->storage, NULL);
    struct frame f = {.type = FRAME_progress};
    f.progress.storage = &stats;
    frame(s, 1, f);
    const struct msg_storage_stats *told = reported(s)->storage;
    assert_non_null(told);
    assert_int_equal(told->requests, 9);
    assert_int_equal(told->slow_downs, 1);
    assert_int_equal(told->limit, 8);
    assert_int_equal(told->limit_max, 16);
    assert_int_equal(told->skew_us, -7);
}

int main(void)
{
#define SCENE(name) cmocka_unit_test_setup_teardown(name, log_setup, teardown)
    const struct CMUnitTest tests[] = {
        SCENE(the_runner_gets_them),
        SCENE(only_names_are_kept),
        SCENE(a_standby_needs_none),
        SCENE(another_value_gives_another_runner),
        SCENE(taken_away_while_it_streams),
        SCENE(waits_for_what_may_come),
        SCENE(fails_for_what_will_not),
        cmocka_unit_test_setup_teardown(waits_for_the_coordinator, restarted_setup, teardown),
        cmocka_unit_test_setup_teardown(goes_on_with_its_own, own_setup, teardown),
        SCENE(a_place_has_its_own),
        cmocka_unit_test_teardown(a_place_waits_for_the_coordinator, teardown),
        cmocka_unit_test_teardown(a_place_is_read_with_the_hosts_own, teardown),
        SCENE(a_backup_fails_before_it_begins),
        SCENE(a_deletion_counts_its_tries),
        SCENE(a_restore_has_two),
        SCENE(storage_is_told),
    };
    return cmocka_run_group_tests_name("agent/brain/secret", tests, NULL, NULL);
}
