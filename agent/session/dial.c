/*
 * A dialed socket. Ownership: the user's until dial_release; from then on, while the thread still
 * dials, the thread's. `lock` guards who owns and whether events may be sent.
 */
#include "agent/session/dial.h"

#include <errno.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/tls/tls.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>

#include "common/endpoint.h"

#define DIAL_FRAMING_BYTES 64                 /* what nng puts around a message */
#define DIAL_NEVER_MS      (24 * 3600 * 1000) /* nng's own reconnecting: not wanted */

struct dial_count {
    atomic_int refs; /* the owner's one, and one a thread */
};

struct dial {
    pthread_mutex_t lock;
    bool dialing;  /* the thread is in nng */
    bool released; /* nobody listens */
    struct dial_events events;
    void *arg;
    nng_socket socket;
    bool socket_open;
    nng_dialer dialer;
    struct dial_count *count;
};

int dial_count_new(struct dial_count **ret, struct tm_err *err)
{
    struct dial_count *count = calloc(1, sizeof *count);

    if (!count)
        return tm_err_oom(err);
    atomic_init(&count->refs, 1);
    *ret = count;
    return 0;
}

int dial_count_pending(const struct dial_count *count)
{
    return atomic_load(&count->refs) - 1;
}

void dial_count_free(struct dial_count *count)
{
    if (count && atomic_fetch_sub(&count->refs, 1) == 1)
        free(count);
}

static void destroy(struct dial *d)
{
    /* without the lock: closing makes nng call on_gone, and waits for it */
    if (d->socket_open)
        (void)nng_close(d->socket);
    (void)pthread_mutex_destroy(&d->lock);
    free(d);
}

static void on_gone(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct dial *d = arg;

    (void)pipe;
    (void)event;
    (void)pthread_mutex_lock(&d->lock);
    if (!d->released)
        d->events.gone(d->arg);
    (void)pthread_mutex_unlock(&d->lock);
}

static void *dial_main(void *arg)
{
    struct dial *d = arg;
    struct dial_count *count = d->count;
    bool abandoned;
    int rv;

    (void)prctl(PR_SET_NAME, "tidemark-dial");
    rv = nng_dialer_start(d->dialer, 0);
    (void)pthread_mutex_lock(&d->lock);
    d->dialing = false;
    abandoned = d->released;
    if (!abandoned)
        d->events.dialed(d->arg, rv);
    (void)pthread_mutex_unlock(&d->lock);
    if (abandoned)
        destroy(d);
    dial_count_free(count);
    return NULL;
}

static int set_tls(struct dial *d, const struct dial_spec *spec, const struct endpoint *e,
                   struct tm_err *err)
{
    const char *name = spec->server_name ? spec->server_name : e->host;
    nng_tls_config *tls = NULL;
    int rv, r = 0;

    if (!spec->ca_file || !spec->cert_key_file)
        return tm_err_set(err, TM_E_INVALID, "'%s' needs tls.ca and tls.cert", spec->url);
    if ((rv = nng_tls_config_alloc(&tls, NNG_TLS_MODE_CLIENT)) != 0)
        return endpoint_nng_error(err, rv, "cannot set up TLS");
    if ((rv = nng_tls_config_ca_file(tls, spec->ca_file)) != 0)
        r = endpoint_nng_error(err, rv, "cannot use tls.ca '%s'", spec->ca_file);
    else if ((rv = nng_tls_config_cert_key_file(tls, spec->cert_key_file, NULL)) != 0)
        r = endpoint_nng_error(err, rv,
                               "cannot use tls.cert '%s' (certificate and key, PEM, one file)",
                               spec->cert_key_file);
    /* without a server name nng would not look at the certificate's names at all */
    else if ((rv = nng_tls_config_server_name(tls, name)) != 0 ||
             (rv = nng_tls_config_auth_mode(tls, NNG_TLS_AUTH_MODE_REQUIRED)) != 0 ||
             (rv = nng_dialer_set_ptr(d->dialer, NNG_OPT_TLS_CONFIG, tls)) != 0)
        r = endpoint_nng_error(err, rv, "cannot set up TLS");
    nng_tls_config_free(tls);
    return r;
}

static int set_up(struct dial *d, const struct dial_spec *spec, struct tm_err *err)
{
    struct endpoint e;
    int rv, r;

    if ((r = endpoint_parse(spec->url, &e, err)) < 0)
        return r;
    if ((rv = nng_req0_open(&d->socket)) != 0)
        return endpoint_nng_error(err, rv, "cannot open a socket");
    d->socket_open = true;
    if ((rv = nng_socket_set_size(d->socket, NNG_OPT_RECVMAXSZ,
                                  spec->max_message_bytes + DIAL_FRAMING_BYTES)) != 0 ||
        (rv = nng_socket_set_ms(d->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE)) != 0 ||
        (rv = nng_socket_set_ms(d->socket, NNG_OPT_RECONNMINT, DIAL_NEVER_MS)) != 0 ||
        (rv = nng_socket_set_ms(d->socket, NNG_OPT_RECONNMAXT, DIAL_NEVER_MS)) != 0 ||
        (rv = nng_pipe_notify(d->socket, NNG_PIPE_EV_REM_POST, on_gone, d)) != 0 ||
        (rv = nng_dialer_create(&d->dialer, d->socket, spec->url)) != 0)
        return endpoint_nng_error(err, rv, "cannot connect to '%s'", spec->url);
    (void)nng_dialer_set_bool(d->dialer, NNG_OPT_TCP_KEEPALIVE, true);
    return e.tls ? set_tls(d, spec, &e, err) : 0;
}

int dial_open(const struct dial_spec *spec, const struct dial_events *events, void *arg,
              struct dial **ret, struct tm_err *err)
{
    struct dial *d = calloc(1, sizeof *d);
    int r;

    if (!d)
        return tm_err_oom(err);
    (void)pthread_mutex_init(&d->lock, NULL);
    d->events = *events;
    d->arg = arg;
    d->count = spec->count;
    if ((r = set_up(d, spec, err)) < 0) {
        destroy(d);
        return r;
    }
    *ret = d;
    return 0;
}

/* Runs fn(d) in a detached thread that holds a reference of the count; returns an errno. */
static int start_thread(struct dial *d, void *(*fn)(void *))
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    int r;

    (void)atomic_fetch_add(&d->count->refs, 1);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    r = pthread_create(&thread, &attr, fn, d);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0)
        dial_count_free(d->count);
    return r;
}

int dial_start(struct dial *d, struct tm_err *err)
{
    int r;

    if (dial_count_pending(d->count) >= DIAL_PENDING_MAX)
        return tm_err_retry(err, TM_E_LIMIT, "%d earlier connection attempts still hang",
                            DIAL_PENDING_MAX);
    d->dialing = true;
    if ((r = start_thread(d, dial_main)) == 0)
        return 0;
    d->dialing = false;
    return tm_err_errno(err, r, "cannot start a thread to connect");
}

static void *close_main(void *arg)
{
    struct dial *d = arg;
    struct dial_count *count = d->count;

    (void)prctl(PR_SET_NAME, "tidemark-close");
    destroy(d);
    dial_count_free(count);
    return NULL;
}

nng_socket dial_socket(const struct dial *d)
{
    return d->socket;
}

void dial_release(struct dial *d)
{
    bool dialing;

    if (!d)
        return;
    (void)pthread_mutex_lock(&d->lock);
    d->released = true;
    dialing = d->dialing;
    (void)pthread_mutex_unlock(&d->lock);
    /* A thread that was past the lock already touches nothing of it any more. nng_close may hang for
     * ever (seen with nng 1.5.2 when the peer goes at the same moment): never on the caller's
     * thread, which is the daemon's loop. */
    if (!dialing && start_thread(d, close_main) != 0)
        destroy(d);
}
