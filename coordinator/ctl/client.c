/*
 * The control socket's client. Happy path: connect, write a frame, read a frame.
 * Failure modes: no socket or nobody listens (TM_E_UNAVAILABLE, with the path), no right to connect
 * (TM_E_PERMISSION), a daemon that hangs up or answers nonsense.
 */
#include "coordinator/ctl/client.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

struct ctl_client {
    int fd;
    unsigned patience_s;
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
};

int client_open(const char *path, struct ctl_client **ret, struct tm_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return tm_err_set(err, TM_E_INVALID, "control socket '%s': the path is too long", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    TM_CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot make a socket");
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        if (errno == EACCES || errno == EPERM)
            return tm_err_set(err, TM_E_PERMISSION,
                              "control socket '%s': permission denied; join the group tidemark",
                              path);
        return tm_err_set(err, TM_E_UNAVAILABLE,
                          "control socket '%s': %s; is tidemark-coordinator running?", path,
                          strerror(errno));
    }
    struct ctl_client *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return tm_err_oom(err);
    c->fd = TM_TAKE_FD(fd);
    client_patience(c, CLIENT_TIMEOUT_MS / 1000);
    memcpy(c->path, address.sun_path, sizeof(c->path));
    *ret = c;
    return 0;
}

void client_patience(struct ctl_client *c, unsigned seconds)
{
    struct timeval deadline = {.tv_sec = seconds};
    c->patience_s = seconds;
    (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline));
    (void)setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof(deadline));
}

void client_free(struct ctl_client *c)
{
    if (c == NULL)
        return;
    closep(&c->fd);
    free(c);
}

void client_reply_release(struct client_reply *r)
{
    codec_arena_release(&r->arena);
    memset(&r->reply, 0, sizeof(r->reply));
}

static int hung_up(const struct ctl_client *c, struct tm_err *err)
{
    return tm_err_retry(err, TM_E_UNAVAILABLE, "control socket '%s': the coordinator hung up",
                        c->path);
}

static int send_all(struct ctl_client *c, struct slice bytes, struct tm_err *err)
{
    while (bytes.len > 0) {
        ssize_t sent = send(c->fd, bytes.data, bytes.len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return hung_up(c, err);
        bytes = slice_of(bytes.data + sent, bytes.len - (size_t)sent);
    }
    return 0;
}

static int receive_all(struct ctl_client *c, uint8_t *dst, size_t len, struct tm_err *err)
{
    while (len > 0) {
        ssize_t got = recv(c->fd, dst, len, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return tm_err_retry(err, TM_E_TIMEOUT,
                                "control socket '%s': no answer within %u seconds", c->path,
                                c->patience_s);
        if (got <= 0)
            return hung_up(c, err);
        dst += got;
        len -= (size_t)got;
    }
    return 0;
}

static int receive_frame(struct ctl_client *c, struct buf *frame, struct tm_err *err)
{
    uint8_t head[4];
    int result = receive_all(c, head, sizeof(head), err);
    if (result < 0)
        return result;
    size_t len = be32_get(head);
    if (len > CONTROL_REPLY_MAX_BYTES)
        return tm_err_set(err, TM_E_CORRUPT, "control socket '%s': an answer of %zu bytes", c->path,
                          len);
    if ((result = buf_reserve(frame, len, err)) < 0 ||
        (result = receive_all(c, frame->data, len, err)) < 0)
        return result;
    frame->len = len;
    return 0;
}

static int ask(struct ctl_client *c, struct control_request *request, struct tm_err *err)
{
    request->version = CONTROL_PROTOCOL;
    TM_CLEANUP(buf_release) struct buf bytes = BUF_SECRET_INIT;
    int result = control_request_encode(request, &bytes, err);
    return result < 0 ? result : send_all(c, buf_slice(&bytes), err);
}

static int answer(struct ctl_client *c, struct client_reply *ret, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf bytes = BUF_SECRET_INIT;
    int result = receive_frame(c, &bytes, err);
    if (result < 0)
        return result;
    struct client_reply r = {0};
    result = codec_decode(&control_reply_codec, buf_slice(&bytes), &r.arena, &r.reply, err);
    if (result == 0 && r.reply.error != NULL) {
        msg_error_to(r.reply.error, err);
        result = -(int)err->code;
    }
    if (result < 0) {
        client_reply_release(&r);
        return result;
    }
    *ret = r;
    return 0;
}

int client_call(struct ctl_client *c, struct control_request *request, struct client_reply *ret,
                struct tm_err *err)
{
    int result = ask(c, request, err);
    return result < 0 ? result : answer(c, ret, err);
}

static int append_items(const struct control_reply *reply, json_t *array, struct tm_err *err)
{
    for (size_t n = 0; n < reply->items_count; n++) {
        json_error_t why;
        json_t *item = json_loads(reply->items[n].json, 0, &why);
        if (item == NULL)
            return tm_err_set(err, TM_E_CORRUPT, "the coordinator's answer is no JSON: %s",
                              why.text);
        if (json_array_append_new(array, item) < 0)
            return tm_err_oom(err);
        if (json_array_size(array) > CLIENT_ITEMS_MAX)
            return tm_err_set(err, TM_E_LIMIT, "more than %d items", CLIENT_ITEMS_MAX);
    }
    return 0;
}

/* Page after page into one array; the coordinator makes the next one while this one is read. */
static int collect(struct ctl_client *c, struct control_request *request, json_t **ret,
                   struct tm_err *err)
{
    json_t *array = json_array();
    int result = array == NULL ? tm_err_oom(err) : ask(c, request, err);
    bool more = result == 0;
    while (more) {
        struct client_reply r;
        if ((result = answer(c, &r, err)) < 0)
            break;
        more = r.reply.after[0] != '\0';
        memcpy(request->after, r.reply.after, sizeof(request->after));
        if (more)
            result = ask(c, request, err);
        if (result == 0)
            result = append_items(&r.reply, array, err);
        more = more && result == 0;
        client_reply_release(&r);
    }
    if (result < 0) {
        json_decref(array);
        return result;
    }
    *ret = array;
    return 0;
}

int client_list(struct ctl_client *c, enum control_command command, const char *kind, json_t **ret,
                struct tm_err *err)
{
    struct control_request request = {.command = command};
    (void)snprintf(request.kind, sizeof(request.kind), "%s", kind != NULL ? kind : "");
    return collect(c, &request, ret, err);
}

int client_probe(struct ctl_client *c, struct control_request *request, json_t **ret,
                 struct tm_err *err)
{
    request->command = CONTROL_PROBE;
    return collect(c, request, ret, err);
}

int client_one(struct ctl_client *c, struct control_request *request, json_t **ret,
               struct tm_err *err)
{
    struct client_reply r;
    int result = client_call(c, request, &r, err);
    if (result < 0)
        return result;
    json_t *array = json_array();
    result = array == NULL ? tm_err_oom(err) : append_items(&r.reply, array, err);
    client_reply_release(&r);
    if (result == 0 && json_array_size(array) != 1)
        result = tm_err_set(err, TM_E_CORRUPT, "the coordinator answered %zu items",
                            json_array_size(array));
    if (result == 0)
        *ret = json_incref(json_array_get(array, 0));
    json_decref(array);
    return result;
}

static struct control_request named(enum control_command command, const char *kind,
                                    const char *namespace_, const char *name)
{
    struct control_request request = {.command = command};
    (void)snprintf(request.kind, sizeof(request.kind), "%s", kind != NULL ? kind : "");
    (void)snprintf(request.name, sizeof(request.name), "%s", name != NULL ? name : "");
    (void)snprintf(request.namespace_, sizeof(request.namespace_), "%s",
                   namespace_ != NULL ? namespace_ : "");
    return request;
}

int client_get(struct ctl_client *c, enum control_command command, const char *kind,
               const char *namespace_, const char *name, json_t **ret, struct tm_err *err)
{
    struct control_request request = named(command, kind, namespace_, name);
    return client_one(c, &request, ret, err);
}

int client_query(struct ctl_client *c, const char *kind, const char *namespace_, const char *name,
                 const char *tenant, struct msg_log_query *query, json_t **ret, struct tm_err *err)
{
    struct control_request request = named(CONTROL_QUERY, kind, namespace_, name);
    if (tenant != NULL)
        (void)snprintf(request.tenant, sizeof(request.tenant), "%s", tenant);
    request.query = query;
    return client_one(c, &request, ret, err);
}
