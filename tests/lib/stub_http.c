/*
 * The stub: a thread that accepts, a thread for each connection, a lock around everything else.
 * Requests need a content-length when they have a body. Anything odd aborts: it is a test's own
 * mistake.
 */
#include "tests/lib/stub_http.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"

#define CONNECTIONS_MAX 256
#define HEAD_MAX        16384

struct stub_connection {
    struct stub_http *stub;
    pthread_t thread;
    int fd;
    unsigned number;
};

struct stub_http {
    stub_handler *handler;
    void *arg;
    int listener;
    unsigned port;
    pthread_t thread;
    pthread_mutex_t lock;
    bool stopping;
    struct stub_connection connections[CONNECTIONS_MAX];
    unsigned connection_count;
    struct stub_request *requests[STUB_REQUESTS_MAX];
    size_t request_count;
};

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "stub_http: %s failed: %s\n", #condition, strerror(errno));      \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- one connection ---- */

static bool send_all(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* The head of a request, byte by byte: simple, and never more than it. */
static bool read_head(int fd, char *head)
{
    size_t len = 0;
    while (len < 4 || memcmp(head + len - 4, "\r\n\r\n", 4) != 0) {
        MUST(len < HEAD_MAX - 1);
        if (recv(fd, head + len, 1, 0) != 1)
            return false;
        len++;
    }
    head[len] = '\0';
    return true;
}

static void split_head(char *head, struct stub_request *request)
{
    char *line = strstr(head, "\r\n");
    *line = '\0';
    MUST(sscanf(head, "%15s %4095s", request->method, request->target) == 2);
    size_t used = 0;
    for (char *at = line + 2; *at != '\0' && *at != '\r';) {
        char *end = strstr(at, "\r\n");
        char *colon = memchr(at, ':', (size_t)(end - at));
        MUST(colon != NULL);
        for (char *c = at; c < colon; c++)
            *c = (char)tolower((unsigned char)*c);
        used += (size_t)snprintf(request->headers + used, sizeof(request->headers) - used, "%.*s\n",
                                 (int)(end - at), at);
        MUST(used < sizeof(request->headers));
        at = end + 2;
    }
}

const char *stub_header(const struct stub_request *request, const char *name, char *value,
                        size_t size)
{
    size_t name_len = strlen(name);
    for (const char *at = request->headers; *at != '\0'; at = strchr(at, '\n') + 1) {
        if (strncmp(at, name, name_len) != 0 || at[name_len] != ':')
            continue;
        at += name_len + 1;
        at += strspn(at, " ");
        (void)snprintf(value, size, "%.*s", (int)strcspn(at, "\n"), at);
        return value;
    }
    return NULL;
}

static bool read_request(int fd, unsigned number, struct stub_request **ret)
{
    char head[HEAD_MAX];
    if (!read_head(fd, head))
        return false;
    struct stub_request *request = calloc(1, sizeof(*request));
    MUST(request != NULL);
    request->connection = number;
    split_head(head, request);
    char text[32];
    if (stub_header(request, "content-length", text, sizeof(text)) != NULL)
        request->body_len = strtoul(text, NULL, 10);
    request->body = calloc(1, request->body_len + 1);
    MUST(request->body != NULL);
    size_t got = 0;
    while (got < request->body_len) {
        ssize_t n = recv(fd, request->body + got, request->body_len - got, 0);
        if (n <= 0) {
            free(request->body);
            free(request);
            return false;
        }
        got += (size_t)n;
    }
    *ret = request;
    return true;
}

static void wait_for_peer(int fd)
{
    char byte;
    while (recv(fd, &byte, 1, 0) > 0)
        continue;
}

static bool answer(int fd, const struct stub_request *request, const struct stub_reply *reply)
{
    if (reply->delay_ms > 0)
        (void)usleep(reply->delay_ms * 1000);
    if (reply->fault == STUB_HANG)
        wait_for_peer(fd);
    if (reply->fault == STUB_HANG || reply->fault == STUB_CLOSE)
        return false;
    size_t len = reply->body_len;
    char head[2048];
    unsigned status = reply->status != 0 ? reply->status : 200;
    char length[64] = "";
    if (!reply->no_length)
        (void)snprintf(length, sizeof(length), "content-length: %zu\r\n", len);
    int n = snprintf(head, sizeof(head), "HTTP/1.1 %u Stub\r\n%s%s\r\n", status, reply->headers,
                     length);
    MUST(n > 0 && (size_t)n < sizeof(head));
    if (!send_all(fd, head, (size_t)n))
        return false;
    if (strcmp(request->method, "HEAD") == 0)
        return true;
    if (reply->fault == STUB_CLOSE_IN_BODY)
        len /= 2;
    return (len == 0 || send_all(fd, reply->body, len)) && reply->fault == STUB_NO_FAULT;
}

/* A client that has seen enough goes on while the rest is still being sent: the test may free by then
 * what its handler gave. */
static uint8_t *own_body(struct stub_reply *reply)
{
    if (reply->body_len == 0 && reply->body != NULL)
        reply->body_len = strlen(reply->body);
    if (reply->body_len == 0)
        return NULL;
    uint8_t *body = malloc(reply->body_len);
    MUST(body != NULL);
    memcpy(body, reply->body, reply->body_len);
    reply->body = body;
    return body;
}

static void *serve(void *arg)
{
    struct stub_connection *c = arg;
    struct stub_http *stub = c->stub;
    struct stub_request *request;
    bool more = true;
    while (more && read_request(c->fd, c->number, &request)) {
        struct stub_reply reply = {.status = 0};
        pthread_mutex_lock(&stub->lock);
        MUST(stub->request_count < STUB_REQUESTS_MAX);
        stub->requests[stub->request_count++] = request;
        stub->handler(request, &reply, stub->arg);
        uint8_t *body = own_body(&reply);
        pthread_mutex_unlock(&stub->lock);
        more = answer(c->fd, request, &reply);
        free(body);
    }
    (void)shutdown(c->fd, SHUT_RDWR);
    return NULL;
}

/* ---- the listener ---- */

static void *accept_all(void *arg)
{
    struct stub_http *stub = arg;
    for (;;) {
        int fd = accept4(stub->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            return NULL;
        int on = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        pthread_mutex_lock(&stub->lock);
        MUST(stub->connection_count < CONNECTIONS_MAX);
        struct stub_connection *c = &stub->connections[stub->connection_count];
        *c = (struct stub_connection){.stub = stub, .fd = fd, .number = ++stub->connection_count};
        MUST(pthread_create(&c->thread, NULL, serve, c) == 0);
        pthread_mutex_unlock(&stub->lock);
    }
}

struct stub_http *stub_http_new(stub_handler *handler, void *arg)
{
    struct stub_http *stub = calloc(1, sizeof(*stub));
    MUST(stub != NULL);
    stub->handler = handler;
    stub->arg = arg;
    MUST(pthread_mutex_init(&stub->lock, NULL) == 0);
    stub->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(stub->listener >= 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    MUST(bind(stub->listener, (struct sockaddr *)&address, len) == 0);
    MUST(listen(stub->listener, 64) == 0);
    MUST(getsockname(stub->listener, (struct sockaddr *)&address, &len) == 0);
    stub->port = ntohs(address.sin_port);
    MUST(pthread_create(&stub->thread, NULL, accept_all, stub) == 0);
    return stub;
}

void stub_http_free(struct stub_http *stub)
{
    if (stub == NULL)
        return;
    (void)shutdown(stub->listener, SHUT_RDWR);
    (void)pthread_join(stub->thread, NULL);
    (void)close(stub->listener);
    for (unsigned n = 0; n < stub->connection_count; n++) {
        (void)shutdown(stub->connections[n].fd, SHUT_RDWR);
        (void)pthread_join(stub->connections[n].thread, NULL);
        (void)close(stub->connections[n].fd);
    }
    for (size_t n = 0; n < stub->request_count; n++) {
        free(stub->requests[n]->body);
        free(stub->requests[n]);
    }
    (void)pthread_mutex_destroy(&stub->lock);
    free(stub);
}

unsigned stub_http_port(const struct stub_http *stub)
{
    return stub->port;
}

size_t stub_http_count(struct stub_http *stub)
{
    pthread_mutex_lock(&stub->lock);
    size_t count = stub->request_count;
    pthread_mutex_unlock(&stub->lock);
    return count;
}

const struct stub_request *stub_http_request(struct stub_http *stub, size_t index)
{
    pthread_mutex_lock(&stub->lock);
    const struct stub_request *request = index < stub->request_count ? stub->requests[index] : NULL;
    pthread_mutex_unlock(&stub->lock);
    return request;
}
