/*
 * The control socket: who connects, how frames come and go.
 *
 * Happy path: accept → peer's credentials → 4 bytes of length, a frame → request_begin → its reply
 * is queued and sent as the peer takes it → the next frame.
 * Failure modes: what is no frame is answered and hung up on; a peer that stalls is dropped by its
 * timer; more connections than the limit are closed at once; a living daemon's socket is refused.
 */
#include "coordinator/control/control.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/clock.h"
#include "coordinator/control/internal.h"

#define READ_BYTES ((size_t)65536)
#define GROUPS_MAX 1024
#define BACKLOG    64

int control_authorise(const struct control_peer *peer, uint32_t command, uid_t own_uid,
                      gid_t socket_gid, struct tm_err *err)
{
    if (!control_command_changes(command))
        return 0; /* whoever the socket's mode let in */
    if (peer->uid == 0 || peer->uid == own_uid || peer->gid == socket_gid)
        return 0;
    for (size_t n = 0; n < peer->group_count; n++)
        if (peer->groups[n] == socket_gid)
            return 0;
    const char *text = control_command_text(command);
    return tm_err_set(err, TM_E_PERMISSION,
                      "%s: user %u may only look; join the group of the control socket (%u)",
                      text != NULL ? text : "this command", (unsigned)peer->uid,
                      (unsigned)socket_gid);
}

/* ---- connections ---- */

static void connection_free(struct connection *c)
{
    list_remove(&c->control->connections, &c->link);
    loop_io_free(c->io);
    loop_timer_free(c->timer);
    request_release(&c->request);
    buf_release(&c->in);
    buf_release(&c->out);
    free(c->groups);
    closep(&c->fd);
    free(c);
}

static void arm(struct connection *c, int64_t ms)
{
    loop_timer_set(c->timer, clock_mono_us() + ms * USEC_PER_MSEC);
}

/* What to wait for next: to send, to read, or (busy) for the brain. */
static int watch(struct connection *c)
{
    struct tm_err ignored;
    bool wake = c->sent < c->out.len || c->request.feed_due;
    uint32_t events = wake ? EPOLLOUT : c->busy ? 0 : EPOLLIN;
    return loop_io_set_events(c->io, events, &ignored);
}

/* False when the connection is gone. */
static bool send_some(struct connection *c)
{
    while (c->sent < c->out.len) {
        ssize_t sent =
            send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            arm(c, CONTROL_STALL_MS);
            return true;
        }
        if (sent < 0)
            return false;
        c->sent += (size_t)sent;
    }
    c->sent = 0;
    buf_reset(&c->out);
    arm(c, c->in.len > 0 ? CONTROL_STALL_MS : CONTROL_IDLE_MS);
    return !c->closing;
}

void connection_reply(struct connection *c, const struct control_reply *reply)
{
    struct tm_err err;
    if (control_reply_encode(reply, &c->out, &err) < 0) {
        connection_error(c, &err, true);
        return;
    }
    request_release(&c->request);
    c->busy = false;
}

void connection_error(struct connection *c, const struct tm_err *err, bool hang_up)
{
    struct tm_err ignored;
    struct msg_error text = msg_error_of(err, NULL);
    struct control_reply reply = {.version = CONTROL_PROTOCOL, .error = &text};
    if (control_reply_encode(&reply, &c->out, &ignored) < 0)
        hang_up = true;
    request_release(&c->request);
    c->busy = false;
    c->closing |= hang_up;
}

/* Begins what lies complete in the input, as long as nothing is being worked on. */
static void take_frames(struct connection *c)
{
    struct tm_err err;
    while (!c->busy && !c->closing && c->in.len >= 4) {
        size_t len = be32_get(c->in.data);
        if (len > CONTROL_REQUEST_MAX_BYTES) {
            (void)tm_err_set(&err, TM_E_LIMIT, "a request of %zu bytes is longer than %zu", len,
                             CONTROL_REQUEST_MAX_BYTES);
            connection_error(c, &err, true);
            return;
        }
        if (c->in.len < 4 + len)
            return;
        c->busy = true;
        request_begin(c, slice_of(c->in.data + 4, len));
        memmove(c->in.data, c->in.data + 4 + len, c->in.len - 4 - len);
        c->in.len -= 4 + len;
        explicit_bzero(c->in.data + c->in.len, 4 + len); /* it may have brought a secret */
    }
}

/* False when the peer is gone. */
static bool read_some(struct connection *c)
{
    struct tm_err err;
    if (buf_reserve(&c->in, READ_BYTES, &err) < 0)
        return false;
    ssize_t got = recv(c->fd, c->in.data + c->in.len, READ_BYTES, MSG_DONTWAIT);
    if (got < 0)
        return errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK;
    if (got == 0)
        return false;
    c->in.len += (size_t)got;
    arm(c, CONTROL_STALL_MS);
    take_frames(c);
    return true;
}

/* Sends what there is, takes what came meanwhile; frees the connection when it is over. */
static void settle(struct connection *c)
{
    request_go_on(c);
    bool alive = send_some(c);
    if (alive && c->out.len == 0 && !c->busy) {
        take_frames(c);
        alive = send_some(c);
    }
    if (!alive || watch(c) < 0)
        connection_free(c);
}

static void on_connection(int fd, uint32_t revents, void *ctx)
{
    struct connection *c = ctx;
    (void)fd;
    /* a client that hung up while the brain works: the change stays, the answer has no reader */
    if ((revents & (EPOLLHUP | EPOLLERR)) != 0 && (revents & EPOLLIN) == 0) {
        connection_free(c);
        return;
    }
    if ((revents & EPOLLIN) != 0 && !c->busy && !read_some(c)) {
        connection_free(c);
        return;
    }
    settle(c);
}

static void on_stall(void *ctx)
{
    struct connection *c = ctx;
    if (c->busy) { /* it is us who are slow */
        arm(c, CONTROL_STALL_MS);
        return;
    }
    connection_free(c);
}

static int read_peer(struct connection *c, struct tm_err *err)
{
    struct ucred credentials;
    socklen_t len = sizeof(credentials);
    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len) < 0)
        return tm_err_errno(err, errno, "cannot read the peer's credentials");
    gid_t groups[GROUPS_MAX];
    len = sizeof(groups);
    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
        len = 0; /* no supplementary groups: the fewer rights */
    c->groups = malloc(len + 1);
    if (c->groups == NULL)
        return tm_err_oom(err);
    memcpy(c->groups, groups, len);
    c->peer = (struct control_peer){.uid = credentials.uid,
                                    .gid = credentials.gid,
                                    .groups = c->groups,
                                    .group_count = len / sizeof(gid_t)};
    return 0;
}

static void welcome(struct control *control, int taken)
{
    struct tm_err ignored;
    TM_CLEANUP(closep) int fd = taken;
    struct connection *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return;
    c->control = control;
    c->in = BUF_SECRET_INIT;
    c->fd = TM_TAKE_FD(fd);
    list_push_back(&control->connections, &c->link);
    if (read_peer(c, &ignored) < 0 ||
        loop_timer_new(control->loop, on_stall, c, &c->timer, &ignored) < 0 ||
        loop_io_new(control->loop, c->fd, EPOLLIN, on_connection, c, &c->io, &ignored) < 0) {
        connection_free(c);
        return;
    }
    arm(c, CONTROL_STALL_MS);
}

static void on_listen(int fd, uint32_t revents, void *ctx)
{
    struct control *control = ctx;
    (void)revents;
    int taken = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (taken < 0)
        return; /* gone again, or no descriptors: the next one is tried when it comes */
    if (control->connections.count >= CONTROL_CONNECTIONS_MAX)
        (void)close(taken);
    else
        welcome(control, taken);
}

/* Who waits for the answer; NULL = has gone. */
static struct connection *waiting(struct control *control, uint64_t cmd)
{
    struct connection *c;
    LIST_FOREACH (c, &control->connections, link) {
        if (cmd != 0 && c->request.cmd == cmd)
            return c;
    }
    return NULL;
}

/* Not sent from here: the brain may be in the middle of a step. The loop wakes us. */
void control_answer(struct control *control, uint64_t cmd, enum brain_outcome outcome,
                    const struct tm_err *err)
{
    struct connection *c = waiting(control, cmd);
    if (c == NULL)
        return;
    uint32_t command = c->request.message.command;
    bool one = command == CONTROL_QUERY || command == CONTROL_PROBE || command == CONTROL_REBUILD ||
               command == CONTROL_CONFIRM;
    if (one && err != NULL)
        connection_error(c, err, false);
    else if (command == CONTROL_CONFIRM)
        rebuild_confirmed(c);
    else
        request_answer(c, outcome, err);
    (void)watch(c);
}

void control_answer_log(struct control *control, uint64_t cmd, const struct msg_log_answer *answer,
                        const char *cluster, const char *tenant)
{
    struct connection *c = waiting(control, cmd);
    if (c == NULL)
        return;
    request_answer_log(c, answer, cluster, tenant);
    (void)watch(c);
}

void control_answer_probe(struct control *control, uint64_t cmd, const struct brain_probe *probe)
{
    struct connection *c = waiting(control, cmd);
    if (c == NULL)
        return;
    probe_answer(c, probe);
    (void)watch(c);
}

void control_answer_rebuilt(struct control *control, uint64_t cmd,
                            const struct brain_rebuilt *rebuilt)
{
    struct connection *c = waiting(control, cmd);
    if (c == NULL)
        return;
    rebuild_answer(c, rebuilt);
    (void)watch(c);
}

/* ---- the socket ---- */

static int remove_stale(const char *path, const struct sockaddr_un *address, struct tm_err *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : tm_err_errno(err, errno, "control socket '%s'", path);
    if (!S_ISSOCK(st.st_mode))
        return tm_err_set(err, TM_E_EXISTS, "control socket '%s': something else is there", path);
    TM_CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot make a socket");
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
        return tm_err_set(err, TM_E_EXISTS,
                          "control socket '%s': another coordinator listens there", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return tm_err_errno(err, errno, "control socket '%s': cannot remove a stale socket", path);
    return 0;
}

/* Mode and group are right before anybody can connect: bind, then chmod, then listen. */
static int listen_at(struct control *control, struct tm_err *err)
{
    const char *path = control->config.path;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return tm_err_set(err, TM_E_INVALID, "control socket '%s': the path is longer than %zu",
                          path, sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int result = remove_stale(path, &address, err);
    if (result < 0)
        return result;
    control->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (control->listen_fd < 0)
        return tm_err_errno(err, errno, "cannot make a socket");
    if (bind(control->listen_fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return tm_err_errno(err, errno, "control socket '%s': cannot bind", path);
    const struct group *group =
        control->config.group != NULL ? getgrnam(control->config.group) : NULL;
    control->socket_gid = getegid();
    if (group != NULL && chown(path, (uid_t)-1, group->gr_gid) == 0)
        control->socket_gid = group->gr_gid;
    if (chmod(path, 0660) < 0)
        return tm_err_errno(err, errno, "control socket '%s': cannot set its mode", path);
    if (listen(control->listen_fd, BACKLOG) < 0)
        return tm_err_errno(err, errno, "control socket '%s': cannot listen", path);
    return 0;
}

int control_new(struct loop *loop, const struct control_config *config, struct control **ret,
                struct tm_err *err)
{
    struct control *control = calloc(1, sizeof(*control));
    if (control == NULL)
        return tm_err_oom(err);
    control->loop = loop;
    control->config = *config;
    control->own_uid = geteuid();
    control->listen_fd = -1;
    list_init(&control->connections);
    int result = listen_at(control, err);
    if (result == 0)
        result =
            loop_io_new(loop, control->listen_fd, EPOLLIN, on_listen, control, &control->io, err);
    if (result < 0) {
        closep(&control->listen_fd);
        free(control);
        return result;
    }
    *ret = control;
    return 0;
}

void control_free(struct control *control)
{
    if (control == NULL)
        return;
    struct connection *c;
    struct connection *next;
    LIST_FOREACH_SAFE (c, next, &control->connections, link) {
        connection_free(c);
    }
    loop_io_free(control->io);
    if (control->listen_fd >= 0)
        (void)unlink(control->config.path);
    closep(&control->listen_fd);
    free(control);
}
