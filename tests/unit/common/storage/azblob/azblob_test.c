/* The Azure driver against a stub that checks the exact requests: objects written at once and in
 * blocks, lost replies, ranges, errors in the service's words, SAS and tokens, the clock. */
#include "stub.h"

#include "common/clock.h"
#include "common/storage/azblob/internal.h"

#define MIB ((size_t)1 << 20)

/* ---- writing ---- */

static void a_small_object_is_one_request(void **state)
{
    (void)state;
    open_with("&access-tier=Cool", "AZURE_STORAGE_KEY", "a2V5");
    reply(201, "Content-MD5: XUFAKrxLKna5cZ2REBfFkg==\r\n", "");
    assert_int_equal(storage_put(g.st, "a/b+c", slice_str("hello"), &g.err), 0);
    assert_string_equal(request_text(0), "PUT /acc/cont/pre/a/b%2Bc\n"
                                         "x-ms-date\n"
                                         "x-ms-version: 2021-12-02\n"
                                         "content-type: application/octet-stream\n"
                                         "content-md5: XUFAKrxLKna5cZ2REBfFkg==\n"
                                         "if-none-match: *\n"
                                         "x-ms-meta-tidemarkwriter\n"
                                         "x-ms-blob-type: BlockBlob\n"
                                         "x-ms-access-tier: Cool\n"
                                         "authorization\n"
                                         "content-length: 5\n");
    assert_string_equal((char *)stub_http_request(g.stub, 0)->body, "hello");
    assert_int_equal(strlen(sent(0, "x-ms-meta-tidemarkwriter")), 32);
    assert_memory_equal(sent(0, "authorization"), "SharedKey acc:", 14);
    assert_int_equal(stub_http_count(g.stub), 1);
}

static struct storage_writer *writer_with(size_t len)
{
    struct storage_writer *w = NULL;
    TM_CLEANUP(freep) char *bytes = malloc(len);
    memset(bytes, 'x', len);
    assert_int_equal(storage_create(g.st, "big", &w, &g.err), 0);
    for (size_t done = 0; done < len; done += MIB) /* the last piece may be short */
        assert_int_equal(storage_writer_write(w, bytes, TM_MIN(MIB, len - done), &g.err), 0);
    return w;
}

/* The id of the block that the n-th request carries, as it is in the URL or decoded. */
static const char *block_id(size_t n, bool decoded)
{
    const char *target = stub_http_request(g.stub, n)->target;
    const char *start = "/acc/cont/pre/big?comp=block&blockid=";
    assert_memory_equal(target, start, strlen(start));
    const char *id = text_of("%s", target + strlen(start));
    char *to = (char *)(uintptr_t)id;
    for (const char *at = id; decoded && *at != '\0'; at++) {
        bool escape = *at == '%'; /* of '+' or '/' */
        *to++ = escape ? (at[2] == 'B' ? '+' : '/') : *at;
        at += escape ? 2 : 0;
    }
    if (decoded)
        *to = '\0';
    return id;
}

static void a_big_object_is_blocks_and_their_list(void **state)
{
    (void)state;
    reply(201, "", "");
    struct storage_writer *w = writer_with(16 * MIB + 3);
    assert_int_equal(storage_writer_seal(w, &g.err), 0);
    assert_int_equal(stub_http_count(g.stub), 3);
    assert_int_equal(storage_writer_commit(w, &g.err), 0);
    storage_writer_free(w);
    assert_int_equal(stub_http_count(g.stub), 4);
    size_t total = 0;
    unsigned seen = 0;
    for (size_t n = 0; n < 3; n++) {
        const struct stub_request *r = stub_http_request(g.stub, n);
        assert_string_equal(
            request_text(n),
            text_of("PUT /acc/cont/pre/big?comp=block&blockid=%s\nx-ms-date\n"
                    "x-ms-version: 2021-12-02\ncontent-md5: %s\nauthorization\n"
                    "content-length: %zu\n",
                    block_id(n, false),
                    r->body_len == 3 ? "9WGq9u8L8U1CCLtGpMyzrQ==" : "IFj7U/ZD/NWKjYOgVUI5Kw==",
                    r->body_len));
        total += r->body_len;
        assert_memory_equal(block_id(n, true), block_id(0, true), 10); /* the writer's number */
        seen |= 1u << (block_id(n, true)[15] - 'A');
    }
    assert_int_equal(total, 16 * MIB + 3);
    assert_int_equal(seen, 7);
    /* ids in their order, whichever request came first */
    const struct stub_request *list = stub_http_request(g.stub, 3);
    assert_string_equal((char *)list->body,
                        text_of("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>"
                                "<Uncommitted>%.15sA</Uncommitted><Uncommitted>%.15sB</Uncommitted>"
                                "<Uncommitted>%.15sC</Uncommitted></BlockList>",
                                block_id(0, true), block_id(0, true), block_id(0, true)));
    assert_string_equal(list->target, "/acc/cont/pre/big?comp=blocklist");
    assert_string_equal(sent(3, "if-none-match"), "*");
    assert_string_equal(sent(3, "content-type"), "application/xml");
    assert_string_equal(sent(3, "x-ms-blob-type"), "");
}

static void exactly_one_block_is_one_request(void **state)
{
    (void)state;
    reply(201, "", "");
    struct storage_writer *w = writer_with(8 * MIB);
    assert_int_equal(storage_writer_commit(w, &g.err), 0);
    storage_writer_free(w);
    assert_int_equal(stub_http_count(g.stub), 1);
    assert_int_equal(stub_http_request(g.stub, 0)->body_len, 8 * MIB);
    /* sealed, it is a block */
    w = writer_with(MIB);
    assert_int_equal(storage_writer_seal(w, &g.err), 0);
    assert_int_equal(stub_http_count(g.stub), 2);
    assert_int_equal(storage_writer_commit(w, &g.err), 0);
    storage_writer_free(w);
    assert_int_equal(stub_http_count(g.stub), 3);
    assert_string_equal(stub_http_request(g.stub, 2)->target, "/acc/cont/pre/big?comp=blocklist");
}

static void a_block_that_is_refused_ends_the_writer(void **state)
{
    (void)state;
    reply(403, "x-ms-error-code: AuthorizationPermissionMismatch\r\nx-ms-request-id: id-1\r\n",
          "<Error><Code>AuthorizationPermissionMismatch</Code><Message>This request is not "
          "authorized.\nRequestId:id-1\nTime:now</Message></Error>");
    struct storage_writer *w = writer_with(8 * MIB + 1);
    assert_int_equal(storage_writer_seal(w, &g.err), -TM_E_PERMISSION);
    const char *message =
        text_of("cannot write 'big': %s/pre/big: PUT: HTTP 403 AuthorizationPermissionMismatch: "
                "This request is not authorized. (request id-1); credentials from secret",
                place());
    assert_string_equal(g.err.msg, message);
    assert_int_equal(storage_writer_commit(w, &g.err), -TM_E_PERMISSION);
    assert_string_equal(g.err.msg, message);
    storage_writer_free(w);
}

static void a_writer_may_be_given_up(void **state)
{
    (void)state;
    reply(201, "", "");
    g.replies[0].fault = STUB_HANG;
    struct storage_writer *w = writer_with(24 * MIB);
    storage_writer_free(w);
}

/* ---- who was first ---- */

static char nonce[64];
static unsigned lost; /* how many of the first replies to PUT are lost */
static const char *stored_md5;

/* A store where the object is made by the first PUT, or is there already. */
static void one_object(const struct stub_request *r, struct stub_reply *out, void *arg)
{
    (void)arg;
    if (strcmp(r->method, "HEAD") == 0) {
        (void)snprintf(out->headers, sizeof(out->headers),
                       "Last-Modified: Fri, 26 Jun 2015 23:39:12 GMT\r\nContent-MD5: %s\r\n"
                       "x-ms-meta-tidemarkwriter: %s\r\n",
                       stored_md5, nonce);
        out->body = "hello";
        return;
    }
    if (nonce[0] != '\0') {
        out->status = 409;
        (void)snprintf(out->headers, sizeof(out->headers),
                       "x-ms-error-code: BlobAlreadyExists\r\n");
    } else {
        assert_non_null(stub_header(r, "x-ms-meta-tidemarkwriter", nonce, sizeof(nonce)));
        out->status = 201;
    }
    if (lost > 0) {
        lost--;
        out->fault = STUB_CLOSE;
    }
}

static void what_exists_is_not_replaced(void **state)
{
    (void)state;
    g.handler = one_object;
    lost = 0;
    stored_md5 = "XUFAKrxLKna5cZ2REBfFkg==";
    (void)snprintf(nonce, sizeof(nonce), "another's");
    assert_int_equal(storage_put(g.st, "x", slice_str("hello"), &g.err), -TM_E_EXISTS);
    assert_string_equal(g.err.msg, text_of("cannot commit '%s/pre/x': it already exists", place()));
    assert_false(g.err.retryable);
    assert_int_equal(stub_http_count(g.stub), 2);
}

static void our_own_object_is_success_when_the_reply_was_lost(void **state)
{
    (void)state;
    g.handler = one_object;
    nonce[0] = '\0';
    lost = 1;
    stored_md5 = "XUFAKrxLKna5cZ2REBfFkg==";
    assert_int_equal(storage_put(g.st, "x", slice_str("hello"), &g.err), 0);
    assert_int_equal(stub_http_count(g.stub), 3);
    /* but not with other bytes */
    nonce[0] = '\0';
    lost = 1;
    stored_md5 = "AAAAAAAAAAAAAAAAAAAAAA==";
    assert_int_equal(storage_put(g.st, "x", slice_str("hello"), &g.err), -TM_E_CORRUPT);
    assert_string_equal(g.err.msg,
                        "cannot commit 'x': the stored object has not the bytes that were sent");
}

static void a_list_refused_for_anothers_commit_is_exists(void **state)
{
    (void)state;
    reply(201, "", "");
    reply(201, "", "");
    reply(400, "x-ms-error-code: InvalidBlockList\r\n", "");
    reply(200, "Last-Modified: Fri, 26 Jun 2015 23:39:12 GMT\r\n", "hello");
    struct storage_writer *w = writer_with(8 * MIB + 1);
    assert_int_equal(storage_writer_commit(w, &g.err), -TM_E_EXISTS);
    storage_writer_free(w);
    /* and without that other one it may be done again */
    reply(404, "x-ms-error-code: BlobNotFound\r\n", "");
    g.replies[3] = g.replies[4];
    g.seen = 0;
    w = writer_with(8 * MIB + 1);
    assert_int_equal(storage_writer_commit(w, &g.err), -TM_E_UNAVAILABLE);
    assert_true(g.err.retryable);
    storage_writer_free(w);
}

static void wrong_bytes_at_the_service_are_sent_again(void **state)
{
    (void)state;
    reply(400, "x-ms-error-code: Md5Mismatch\r\n", "");
    reply(201, "Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\n", "");
    reply(201, "Content-MD5: XUFAKrxLKna5cZ2REBfFkg==\r\n", "");
    assert_int_equal(storage_put(g.st, "x", slice_str("hello"), &g.err), 0);
    assert_int_equal(stub_http_count(g.stub), 3);
}

/* ---- reading ---- */

static void a_range_is_asked_exactly(void **state)
{
    (void)state;
    char bytes[8] = "........";
    reply(206, "Content-Range: bytes 6-10/11\r\n", "world");
    assert_int_equal(storage_read(g.st, "a", 6, bytes, 5, &g.err), 0);
    assert_memory_equal(bytes, "world...", 8);
    assert_string_equal(request_text(0), "GET /acc/cont/pre/a\nx-ms-date\n"
                                         "x-ms-version: 2021-12-02\nrange: bytes=6-10\n"
                                         "authorization\n");
}

static void what_ends_early_is_told_from_what_was_cut(void **state)
{
    (void)state;
    char bytes[8];
    reply(206, "Content-Range: bytes 6-10/11\r\n", "wor");  /* cut: again */
    reply(206, "Content-Range: bytes 0-4/11\r\n", "hello"); /* another range: again */
    reply(206, "Content-Range: bytes 6-10/11\r\n", "world");
    assert_int_equal(storage_read(g.st, "a", 6, bytes, 5, &g.err), 0);
    assert_int_equal(stub_http_count(g.stub), 3);
    reply(206, "Content-Range: bytes 6-10/11\r\n", "world");
    assert_int_equal(storage_read(g.st, "a", 6, bytes, 6, &g.err), -TM_E_CORRUPT);
    const char *message =
        text_of("'%s/pre/a' is shorter than expected: wanted 6 bytes at 6", place());
    assert_string_equal(g.err.msg, message);
    reply(416, "x-ms-error-code: InvalidRange\r\n", "");
    assert_int_equal(storage_read(g.st, "a", 6, bytes, 6, &g.err), -TM_E_CORRUPT);
    assert_string_equal(g.err.msg, message);
    assert_int_equal(stub_http_count(g.stub), 5);
}

static void absence_is_of_an_object_or_of_the_container(void **state)
{
    (void)state;
    char byte;
    struct storage_object object;
    reply(404, "x-ms-error-code: BlobNotFound\r\n", "");
    assert_int_equal(storage_read(g.st, "a", 0, &byte, 1, &g.err), -TM_E_NOT_FOUND);
    assert_string_equal(g.err.msg,
                        text_of("cannot read '%s/pre/a': there is no such object", place()));
    assert_int_equal(storage_stat(g.st, "a", &object, &g.err), -TM_E_NOT_FOUND);
    reply(404, "x-ms-error-code: ContainerNotFound\r\nx-ms-request-id: id\r\n", "");
    assert_int_equal(storage_stat(g.st, "a", &object, &g.err), -TM_E_INVALID);
    assert_string_equal(g.err.msg,
                        text_of("cannot stat 'a': %s: there is no such container (%s/pre/a: HEAD: "
                                "HTTP 404 ContainerNotFound (request id))",
                                place(), place()));
}

/* What a load balancer says in front of a service that is away. */
static void a_404_that_is_not_the_services_is_no_absence(void **state)
{
    (void)state;
    char byte;
    struct storage_object object;
    g.timeout_ms = 5000;
    open_with("", "AZURE_STORAGE_KEY", "a2V5IG9mIGFuIGFjY291bnQ=");
    reply(404, "Retry-After: 100\r\n", "<html>not here</html>"); /* later than a call may last */
    assert_int_equal(storage_read(g.st, "a", 0, &byte, 1, &g.err), -TM_E_UNAVAILABLE);
    assert_true(g.err.retryable);
    assert_string_equal(g.err.msg, text_of("cannot read 'a': given up after 1 attempts: %s/pre/a: "
                                           "GET: HTTP 404: this does not come from the store "
                                           "itself",
                                           place()));
    assert_int_equal(storage_stat(g.st, "a", &object, &g.err), -TM_E_UNAVAILABLE);
    assert_true(g.err.retryable);
    const char *const names[] = {"a"};
    assert_int_equal(storage_remove(g.st, names, 1, &g.err), -TM_E_UNAVAILABLE);
    reply(404, "Retry-After: 100\r\nx-ms-error-code: ResourceNotFound\r\n", "");
    assert_int_equal(storage_stat(g.st, "a", &object, &g.err), -TM_E_UNAVAILABLE);
    /* the service's own, without a code */
    reply(404, "x-ms-request-id: id\r\n", "");
    assert_int_equal(storage_stat(g.st, "a", &object, &g.err), -TM_E_NOT_FOUND);
    assert_int_equal(stub_http_count(g.stub), 5);
}

static void stat_tells_size_and_time(void **state)
{
    (void)state;
    struct storage_object object;
    reply(200, "Last-Modified: Fri, 26 Jun 2015 23:39:12 GMT\r\n", "hello");
    assert_int_equal(storage_stat(g.st, "a/b", &object, &g.err), 0);
    assert_string_equal(object.name, "a/b");
    assert_int_equal(object.size_bytes, 5);
    assert_int_equal(object.modified_us, INT64_C(1435361952000000));
    assert_string_equal(request_text(0), "HEAD /acc/cont/pre/a/b\nx-ms-date\n"
                                         "x-ms-version: 2021-12-02\nauthorization\n");
}

/* ---- trouble ---- */

static void a_busy_service_is_asked_again(void **state)
{
    (void)state;
    char bytes[5];
    reply(503, "x-ms-error-code: ServerBusy\r\n", "");
    reply(500, "x-ms-error-code: OperationTimedOut\r\n", "");
    reply(206, "Content-Range: bytes 0-4/5\r\n", "hello");
    assert_int_equal(storage_read(g.st, "a", 0, bytes, 5, &g.err), 0);
    struct storage_stats stats;
    storage_stats(g.st, &stats);
    assert_int_equal(stats.requests, 3);
    assert_int_equal(stats.retries, 2);
    assert_int_equal(stats.slow_downs, 1);
}

static void a_redirect_is_not_followed(void **state)
{
    (void)state;
    struct storage_object object;
    reply(307, "Location: http://example.org/\r\n", "");
    assert_int_equal(storage_stat(g.st, "a", &object, &g.err), -TM_E_INVALID);
    assert_string_equal(g.err.msg,
                        text_of("cannot stat 'a': %s/pre/a: HEAD: HTTP 307; redirects are not "
                                "followed: correct the endpoint",
                                place()));
    assert_int_equal(stub_http_count(g.stub), 1);
}

static void a_wrong_clock_is_put_right(void **state)
{
    (void)state;
    char ahead[AZBLOB_DATE_MAX];
    struct storage_object object;
    azblob_date(clock_real_us() + USEC_PER_HOUR, ahead);
    reply(403, text_of("Date: %s\r\nx-ms-error-code: AuthenticationFailed\r\n", ahead), "");
    reply(404, text_of("Date: %s\r\nx-ms-error-code: BlobNotFound\r\n", ahead), "");
    assert_int_equal(storage_stat(g.st, "a", &object, &g.err), -TM_E_NOT_FOUND);
    assert_int_equal(stub_http_count(g.stub), 2);
    assert_memory_equal(sent(1, "x-ms-date"), ahead, 19); /* to the hour */
    int64_t now_us = 0;
    assert_int_equal(storage_now(g.st, &now_us, &g.err), 0);
    assert_in_range(now_us - clock_real_us(), USEC_PER_HOUR - 5 * USEC_PER_SEC, USEC_PER_HOUR);
    /* a wrong key is no clock */
    reply(403, text_of("Date: %s\r\nx-ms-error-code: AuthenticationFailed\r\n", ahead), "");
    assert_int_equal(storage_stat(g.st, "a", &object, &g.err), -TM_E_PERMISSION);
    assert_int_equal(stub_http_count(g.stub), 3);
}

static void the_clock_is_asked_once(void **state)
{
    (void)state;
    int64_t now_us = 0;
    reply(403, "Date: Fri, 26 Jun 2015 23:39:12 GMT\r\n", "");
    assert_int_equal(storage_now(g.st, &now_us, &g.err), 0);
    assert_in_range(now_us, INT64_C(1435361951000000), INT64_C(1435361957000000));
    assert_int_equal(storage_now(g.st, &now_us, &g.err), 0);
    assert_string_equal(stub_http_request(g.stub, 0)->target, "/acc/cont?restype=container");
}

/* ---- other credentials ---- */

static void a_sas_is_sent_and_never_told(void **state)
{
    (void)state;
    open_with("", "AZURE_STORAGE_SAS_TOKEN", "?sv=2021-12-02&sp=r&sig=sssh%2F");
    struct storage_object object;
    reply(403, "x-ms-error-code: AuthenticationFailed\r\n",
          "<Error><Code>AuthenticationFailed</Code><Message>Signature sv=2021-12-02&amp;sp=r&amp;"
          "sig=sssh%2F did not match</Message></Error>");
    assert_int_equal(storage_stat(g.st, "a", &object, &g.err), -TM_E_PERMISSION);
    assert_null(strstr(g.err.msg, "sssh"));
    assert_string_equal(stub_http_request(g.stub, 0)->target,
                        "/acc/cont/pre/a?sv=2021-12-02&sp=r&sig=sssh%2F");
    char byte;
    assert_int_equal(storage_read(g.st, "a", 0, &byte, 1, &g.err), -TM_E_PERMISSION);
    assert_string_equal(g.err.msg,
                        text_of("cannot read 'a': %s/pre/a: GET: HTTP 403 AuthenticationFailed; "
                                "credentials from secret",
                                place()));
    struct storage_iter *it = NULL;
    assert_int_equal(storage_list(g.st, "x", NULL, &it, &g.err), 0);
    assert_int_equal(storage_iter_next(it, &object, &g.err), -TM_E_PERMISSION);
    storage_iter_free(it);
    assert_null(strstr(g.err.msg, "sssh"));
    assert_string_equal(stub_http_request(g.stub, 2)->target,
                        "/acc/cont?restype=container&comp=list&maxresults=2000&prefix=pre%2Fx&"
                        "sv=2021-12-02&sp=r&sig=sssh%2F");
    assert_string_equal(sent(2, "authorization"), "");
}

/* The service says the same of one that is wrong. */
static void a_sas_that_has_ended_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *sas, *ended;
    } cases[] = {
        {"se=2001-02-03T04%3A05%3a06Z&sig=x", "the SAS token from secret has ended at "
                                              "2001-02-03T04:05:06Z: "},
        {"?sp=r&xse=2&se=2001-02-03T04:05:06Z&sig=x", "the SAS token from secret has ended at "
                                                      "2001-02-03T04:05:06Z: "},
        {"sp=r&sig=x&se=2999-02-03T04%3A05%3A06Z", NULL},
        {"sp=r&sig=x&se=2001-02-03", NULL},
        {"sp=r&sig=x&s", NULL},
        {"sig=x&se", NULL},
        {"sig=x&se=", NULL},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        struct storage_object object;
        open_with("", "AZURE_STORAGE_SAS_TOKEN", cases[n].sas);
        reply(403, "x-ms-error-code: AuthenticationFailed\r\n", "");
        assert_int_equal(storage_stat(g.st, "a", &object, &g.err), -TM_E_PERMISSION);
        assert_string_equal(g.err.msg,
                            text_of("cannot stat 'a': %s%s/pre/a: HEAD: HTTP 403 "
                                    "AuthenticationFailed%s",
                                    cases[n].ended != NULL ? cases[n].ended : "", place(),
                                    cases[n].ended != NULL ? "" : "; credentials from secret"));
    }
}

static unsigned tokens;

/* An authority whose first token is refused by the store. */
static void authority_and_store(const struct stub_request *r, struct stub_reply *out, void *arg)
{
    (void)arg;
    static char token[128];
    char authorization[128];
    if (strcmp(r->target, "/tenant/oauth2/v2.0/token") == 0) {
        (void)snprintf(token, sizeof(token), "{\"access_token\":\"token-%u\",\"expires_in\":3600}",
                       ++tokens);
        out->body = token;
        return;
    }
    assert_non_null(stub_header(r, "authorization", authorization, sizeof(authorization)));
    bool first = strcmp(authorization, "Bearer token-1") == 0;
    out->status = first ? 401 : 404;
    (void)snprintf(out->headers, sizeof(out->headers), "x-ms-error-code: %s\r\n",
                   first ? "InvalidAuthenticationInfo" : "BlobNotFound");
}

static void a_token_that_is_refused_is_replaced(void **state)
{
    (void)state;
    g.handler = authority_and_store;
    tokens = 0;
    (void)setenv("AZURE_AUTHORITY_HOST", text_of("http://127.0.0.1:%u", stub_http_port(g.stub)), 1);
    assert_int_equal(secret_map_set(&g.secret, "AZURE_TENANT_ID", "tenant", 6, &g.err), 0);
    assert_int_equal(secret_map_set(&g.secret, "AZURE_CLIENT_ID", "client", 6, &g.err), 0);
    assert_int_equal(secret_map_set(&g.secret, "AZURE_CLIENT_SECRET", "sssh", 4, &g.err), 0);
    TM_CLEANUP(secret_map_release) struct secret_map map = SECRET_MAP_INIT;
    for (size_t n = 0; n < g.secret.count; n++)
        if (strcmp(g.secret.items[n].name, "AZURE_STORAGE_KEY") != 0)
            assert_int_equal(secret_map_set(&map, g.secret.items[n].name,
                                            g.secret.items[n].value.data,
                                            g.secret.items[n].value.len, &g.err),
                             0);
    struct storage_options options = {.secret = &map};
    TM_CLEANUP(storage_freep) struct storage *st = NULL;
    struct storage_object object;
    assert_int_equal(storage_open(text_of("azblob://cont?account-name=acc&proxy=&endpoint=http://"
                                          "127.0.0.1:%u",
                                          stub_http_port(g.stub)),
                                  &options, &st, &g.err),
                     0);
    assert_int_equal(storage_stat(st, "a", &object, &g.err), -TM_E_NOT_FOUND);
    assert_int_equal(tokens, 2);
    assert_int_equal(stub_http_count(g.stub), 4);
    assert_int_equal(storage_stat(st, "a", &object, &g.err), -TM_E_NOT_FOUND);
    assert_int_equal(tokens, 2);
    (void)unsetenv("AZURE_AUTHORITY_HOST");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_small_object_is_one_request),
        TEST(a_big_object_is_blocks_and_their_list),
        TEST(exactly_one_block_is_one_request),
        TEST(a_block_that_is_refused_ends_the_writer),
        TEST(a_writer_may_be_given_up),
        TEST(what_exists_is_not_replaced),
        TEST(our_own_object_is_success_when_the_reply_was_lost),
        TEST(a_list_refused_for_anothers_commit_is_exists),
        TEST(wrong_bytes_at_the_service_are_sent_again),
        TEST(a_range_is_asked_exactly),
        TEST(what_ends_early_is_told_from_what_was_cut),
        TEST(absence_is_of_an_object_or_of_the_container),
        TEST(a_404_that_is_not_the_services_is_no_absence),
        TEST(stat_tells_size_and_time),
        TEST(a_busy_service_is_asked_again),
        TEST(a_redirect_is_not_followed),
        TEST(a_wrong_clock_is_put_right),
        TEST(the_clock_is_asked_once),
        TEST(a_sas_is_sent_and_never_told),
        TEST(a_sas_that_has_ended_is_told),
        TEST(a_token_that_is_refused_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
