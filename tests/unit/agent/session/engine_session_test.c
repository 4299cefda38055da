/* A database session in its thread, with an engine made for the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>

#include "agent/session/engine_session.h"
#include "common/loop.h"

/* What the fake engine does is said by the conninfo; what it did is noted in the session. */
struct engine_session {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool cancelled;
    const char *mode;
};

static _Atomic int opens, closes;
static _Atomic uint64_t held;

static int fake_describe(const struct engine_instance *i, struct engine_description *ret,
                         struct tm_err *err)
{
    (void)i;
    (void)err;
    *ret =
        (struct engine_description){.role = ENGINE_ROLE_PRIMARY, .identity = "id1", .version = "9"};
    return 0;
}

static int fake_check(const struct engine_instance *i, struct tm_err *err)
{
    if (strcmp(i->conninfo, "check") == 0)
        return tm_err_set(err, TM_E_PERMISSION, "GRANT is missing");
    return 0;
}

static int fake_open(const struct engine_instance *i, const char *label,
                     struct engine_session **ret, struct tm_err *err)
{
    (void)err;
    assert_string_equal(label, "tidemark x");
    struct engine_session *s = calloc(1, sizeof *s);
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->wake, NULL);
    s->mode = i->conninfo;
    opens++;
    *ret = s;
    return 0;
}

static int fake_begin(struct engine_session *s, const char *hold, bool fast, struct buf *ret_begin,
                      struct engine_position *ret_from, struct tm_err *err)
{
    (void)fast;
    assert_null(hold);
    if (strcmp(s->mode, "hang") == 0) {
        (void)pthread_mutex_lock(&s->lock);
        while (!s->cancelled)
            (void)pthread_cond_wait(&s->wake, &s->lock);
        (void)pthread_mutex_unlock(&s->lock);
        return tm_err_set(err, TM_E_CANCELED, "canceled");
    }
    *ret_from = (struct engine_position){.len = 1, .bytes = {7}, .text = "0/7"};
    return buf_append(ret_begin, "BEGIN", 5, err);
}

static int fake_resume(struct engine_session *s, const char *hold, bool fast, struct slice first,
                       uint64_t log_from, struct buf *ret_begin, struct engine_position *ret_from,
                       struct tm_err *err)
{
    assert_string_equal(hold, "slot");
    assert_true(fast);
    assert_true(slice_eq(first, slice_str("FIRST")));
    assert_int_equal(log_from, 77);
    if (strcmp(s->mode, "conflict") == 0)
        return tm_err_set(err, TM_E_CONFLICT, "full_page_writes is off");
    *ret_from = (struct engine_position){.len = 1, .bytes = {7}, .text = "0/7"};
    return buf_append(ret_begin, "BEGIN", 5, err);
}

static int fake_hold(struct engine_session *s, uint64_t durable, struct tm_err *err)
{
    (void)s;
    (void)err;
    held = durable;
    return 0;
}

static int fake_ping(struct engine_session *s, struct tm_err *err)
{
    (void)s;
    (void)err;
    return 0;
}

static int fake_end(struct engine_session *s, struct buf *ret_end, struct engine_position *ret_at,
                    int64_t *ret_commit_us, struct tm_err *err)
{
    if (strcmp(s->mode, "end") == 0)
        return tm_err_set(err, TM_E_UNAVAILABLE, "server closed the connection");
    *ret_at = (struct engine_position){.len = 1, .bytes = {9}, .text = "0/9"};
    *ret_commit_us = 5;
    return buf_append(ret_end, "END", 3, err);
}

static void fake_close(struct engine_session *s)
{
    closes++;
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_cond_destroy(&s->wake);
    free(s);
}

static void fake_cancel(struct engine_session *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->cancelled = true;
    (void)pthread_cond_signal(&s->wake);
    (void)pthread_mutex_unlock(&s->lock);
}

static const struct engine_ops fake = {
    .name = "fake",
    .describe = fake_describe,
    .check = fake_check,
    .session_open = fake_open,
    .snapshot_begin = fake_begin,
    .hold_advance = fake_hold,
    .session_ping = fake_ping,
    .snapshot_end = fake_end,
    .session_close = fake_close,
    .session_cancel = fake_cancel,
};

struct fixture {
    struct loop *loop;
    struct engine_session_thread *s;
    char seen[512];
};

static void see(struct fixture *f, const char *text)
{
    size_t len = strlen(f->seen);

    (void)snprintf(f->seen + len, sizeof f->seen - len, "%s ", text);
}

static void on_begun(void *arg, const struct engine_session_begun *begun)
{
    assert_true(slice_eq(begun->begin, slice_str("BEGIN")));
    assert_string_equal(begun->replay_from.text, "0/7");
    assert_string_equal(begun->description.identity, "id1");
    see(arg, "begun");
}

static void on_ended(void *arg, const struct engine_session_ended *ended)
{
    assert_true(slice_eq(ended->end, slice_str("END")));
    assert_int_equal(ended->commit_us, 5);
    see(arg, "ended");
}

static void on_failed(void *arg, const char *stage, const struct tm_err *err)
{
    char text[600];

    (void)snprintf(text, sizeof text, "failed(%s: %s)", stage, err->msg);
    see(arg, text);
}

static void on_closed(void *arg)
{
    struct fixture *f = arg;

    see(f, "closed");
    engine_session_free(TM_TAKE(f->s));
}

static const struct engine_session_handlers handlers = {on_begun, on_ended, on_failed, on_closed};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct tm_err err = {0};

    opens = 0;
    closes = 0;
    held = 0;
    assert_int_equal(loop_new(&f->loop, &err), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    engine_session_free(f->s);
    loop_free(f->loop);
    assert_int_equal(opens, closes);
    free(f);
    return 0;
}

static void begin(struct fixture *f, const char *mode)
{
    const struct engine_session_spec spec = {
        .ops = &fake, .instance = {.tenant = "main", .conninfo = mode}, .label = "tidemark x"};
    struct tm_err err = {0};

    assert_int_equal(engine_session_begin(f->loop, &spec, &handlers, f, &f->s, &err), 0);
}

/* What is given may go at once: it was copied. */
static void resume(struct fixture *f, const struct engine_ops *ops, const char *mode)
{
    char hold[] = "slot", first[] = "FIRST";
    const struct engine_session_spec spec = {.ops = ops,
                                             .instance = {.tenant = "main", .conninfo = mode},
                                             .label = "tidemark x",
                                             .fast = true,
                                             .hold = hold,
                                             .resume = {slice_of(first, 5), 77}};
    struct tm_err err = {0};

    assert_int_equal(engine_session_begin(f->loop, &spec, &handlers, f, &f->s, &err), 0);
    memset(hold, 'x', sizeof hold);
    memset(first, 'x', sizeof first);
}

/* For as long as it takes (check.sh ends a test that hangs), unless something else is seen. */
static void wait_for(struct fixture *f, const char *seen)
{
    struct tm_err err = {0};

    while (strcmp(f->seen, seen) != 0 && strncmp(f->seen, seen, strlen(f->seen)) == 0)
        assert_int_equal(loop_turn(f->loop, 2000, &err), 0);
    assert_string_equal(f->seen, seen);
}

static void test_whole_life(void **state)
{
    struct fixture *f = *state;

    begin(f, "");
    wait_for(f, "begun ");
    engine_session_hold(f->s, 100);
    while (held != 100)
        usleep(1000);
    engine_session_end(f->s);
    wait_for(f, "begun ended ");
    engine_session_close(f->s);
    wait_for(f, "begun ended closed ");
    assert_null(f->s);
}

static void test_check_fails(void **state)
{
    struct fixture *f = *state;

    begin(f, "check");
    wait_for(f, "failed(check: GRANT is missing) ");
    engine_session_close(f->s);
    wait_for(f, "failed(check: GRANT is missing) closed ");
    assert_int_equal(opens, 0);
}

static void test_end_fails(void **state)
{
    struct fixture *f = *state;

    begin(f, "end");
    wait_for(f, "begun ");
    engine_session_end(f->s);
    wait_for(f, "begun failed(end: server closed the connection) ");
    engine_session_end(f->s); /* changes nothing any more */
    engine_session_close(f->s);
    wait_for(f, "begun failed(end: server closed the connection) closed ");
}

static void test_resume(void **state)
{
    struct fixture *f = *state;
    struct engine_ops can = fake;

    can.snapshot_resume = fake_resume;
    resume(f, &can, "");
    wait_for(f, "begun ");
    engine_session_end(f->s);
    wait_for(f, "begun ended ");
    engine_session_close(f->s);
    wait_for(f, "begun ended closed ");
    f->seen[0] = '\0';
    resume(f, &can, "conflict");
    wait_for(f, "failed(resume: full_page_writes is off) ");
    engine_session_close(f->s);
    wait_for(f, "failed(resume: full_page_writes is off) closed ");
    f->seen[0] = '\0';
    resume(f, &fake, "");
    wait_for(f, "failed(begin: engine 'fake' cannot resume a snapshot) ");
    engine_session_close(f->s);
    wait_for(f, "failed(begin: engine 'fake' cannot resume a snapshot) closed ");
}

static void test_close_cancels(void **state)
{
    struct fixture *f = *state;

    begin(f, "hang");
    while (opens == 0)
        usleep(1000);
    usleep(5000);
    engine_session_close(f->s);
    wait_for(f, "closed "); /* what the cancel did is not news */
}

static void test_free_without_close(void **state)
{
    struct fixture *f = *state;

    begin(f, "");
    wait_for(f, "begun ");
    engine_session_free(TM_TAKE(f->s));
    assert_int_equal(closes, 1);
}

#define SESSION(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SESSION(test_whole_life),    SESSION(test_check_fails),        SESSION(test_end_fails),
        SESSION(test_close_cancels), SESSION(test_free_without_close), SESSION(test_resume),
    };
    return cmocka_run_group_tests_name("engine_session", tests, NULL, NULL);
}
