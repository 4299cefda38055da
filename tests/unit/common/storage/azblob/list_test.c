/* Listing and removing with the Azure driver: pages, places behind which to go on, leaps over
 * directories, batches. The stub is a small container with the service's rules for lists. */
#include "stub.h"

#include "common/hash.h"

#define PAGE 3

static const char *const *keys; /* in order of names */
static size_t key_count;
static char answers[16][4096];
static size_t answer_count;

static const char *param(const char *target, const char *name, char *value, size_t size)
{
    const char *at = strstr(target, text_of("&%s=", name));
    value[0] = '\0';
    if (at == NULL)
        return value;
    at += strlen(name) + 2;
    size_t len = 0;
    for (; *at != '\0' && *at != '&' && len + 1 < size; at++) {
        bool escape = *at == '%';
        value[len++] = escape ? (char)(hex_value(at[1]) * 16 + hex_value(at[2])) : *at;
        at += escape ? 2 : 0;
    }
    value[len] = '\0';
    return value;
}

/* The key's name in a list by directories: its first part behind the prefix, with '/'. */
static void entry_of(const char *key, const char *prefix, bool by_directory, char *ret, size_t size)
{
    size_t len = strlen(prefix) + strcspn(key + strlen(prefix), "/");
    bool is_prefix = by_directory && key[len] == '/';
    (void)snprintf(ret, size, "%.*s", (int)(is_prefix ? len + 1 : strlen(key)), key);
}

static void container(const struct stub_request *r, struct stub_reply *out, void *arg)
{
    (void)arg;
    char prefix[256], delimiter[16], marker[256], last[256] = "", entry[256];
    param(r->target, "prefix", prefix, sizeof(prefix));
    param(r->target, "delimiter", delimiter, sizeof(delimiter));
    param(r->target, "marker", marker, sizeof(marker));
    char *text = answers[answer_count++ % TM_ARRAY_LEN(answers)];
    size_t size = sizeof(answers[0]), count = 0;
    size_t len = (size_t)snprintf(text, size, "<EnumerationResults><Blobs>");
    const char *next = "";
    for (size_t n = 0; n < key_count; n++) {
        if (strncmp(keys[n], prefix, strlen(prefix)) != 0)
            continue;
        entry_of(keys[n], prefix, delimiter[0] != '\0', entry, sizeof(entry));
        if (strcmp(entry, last) == 0 || (marker[0] != '\0' && strcmp(entry, marker + 1) <= 0))
            continue;
        if (count++ == PAGE) {
            next = text_of("!%s", last);
            break;
        }
        (void)snprintf(last, sizeof(last), "%s", entry);
        len += (size_t)snprintf(
            text + len, size - len,
            entry[strlen(entry) - 1] == '/'
                ? "<BlobPrefix><Name>%s</Name></BlobPrefix>"
                : "<Blob><Name>%s</Name><Properties><Last-Modified>Fri, 26 Jun 2015 23:39:12 GMT"
                  "</Last-Modified><Content-Length>7</Content-Length></Properties></Blob>",
            entry);
    }
    (void)snprintf(text + len, size - len,
                   "</Blobs><NextMarker>%s</NextMarker></EnumerationResults>", next);
    out->body = text;
}

static void hold(const char *const *names, size_t count)
{
    keys = names;
    key_count = count;
    answer_count = 0;
    g.handler = container;
}

static const char *rest_of(struct storage_iter *it)
{
    static char text[2048];
    struct storage_object object;
    size_t len = 0;
    int r;
    text[0] = '\0';
    while ((r = storage_iter_next(it, &object, &g.err)) > 0) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len > 0 ? " " : "",
                                object.name);
        assert_int_equal(object.size_bytes, 7);
        assert_int_equal(object.modified_us, INT64_C(1435361952000000));
    }
    if (r < 0)
        fail_msg("%s", g.err.msg);
    return text;
}

/* The names, and after how many requests of this list. */
static void assert_listed(const char *prefix, const char *start_after, const char *names,
                          size_t requests)
{
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    size_t before = stub_http_count(g.stub);
    assert_int_equal(storage_list(g.st, prefix, start_after, &it, &g.err), 0);
    assert_string_equal(rest_of(it), names);
    assert_int_equal(stub_http_count(g.stub) - before, requests);
}

#define HOLD(names) hold(names, TM_ARRAY_LEN(names))

static void pages_follow_each_other(void **state)
{
    (void)state;
    static const char *const names[] = {"pre/a",          "pre/b/1", "pre/b/2", "pre/b/3",
                                        "pre/b/odd name", "pre/c",   "prf",     "x"};
    HOLD(names);
    assert_listed("", NULL, "a b/1 b/2 b/3 c", 2);
    assert_string_equal(stub_http_request(g.stub, 0)->target,
                        "/acc/cont?restype=container&comp=list&maxresults=2000&prefix=pre%2F");
    assert_string_equal(stub_http_request(g.stub, 1)->target,
                        "/acc/cont?restype=container&comp=list&maxresults=2000&prefix=pre%2F&"
                        "marker=%21pre%2Fb%2F2");
    assert_listed("b", NULL, "b/1 b/2 b/3", 2);
    assert_listed("d", NULL, "", 1);
    assert_listed("", "b/1", "b/2 b/3 c", 2);
    assert_listed("b/", "c", "", 0); /* nothing can come */
    assert_listed("c", "b", "c", 1);
}

static void a_place_far_behind_is_leapt_to(void **state)
{
    (void)state;
    static const char *const names[] = {
        "pre/a/01",  "pre/a/02",  "pre/a/03",  "pre/a/04",  "pre/a/05",  "pre/a/06", "pre/a/07",
        "pre/a/08",  "pre/a/09",  "pre/a/10",  "pre/a/11",  "pre/a/12",  "pre/a/13", "pre/a/14",
        "pre/b/x/1", "pre/b/x/2", "pre/b/x/3", "pre/b/y/1", "pre/b/y/2", "pre/c/1",  "pre/d"};
    HOLD(names);
    /* two pages of a/, then: b/x/ by entries; b/ by entries and y/ flat; the root by entries, in two
     * pages, and c/ flat */
    assert_listed("", "b/x/2", "b/x/3 b/y/1 b/y/2 c/1 d", 8);
    assert_string_equal(stub_http_request(g.stub, 2)->target,
                        "/acc/cont?restype=container&comp=list&maxresults=2000&prefix=pre%2Fb%2Fx"
                        "%2F&delimiter=%2F");
    /* within one directory there is no shorter way */
    assert_listed("a/", "a/13", "a/14", 5);
}

static void passed_directories_cost_little(void **state)
{
    (void)state;
    static const char *const names[] = {
        "pre/a/01", "pre/a/02", "pre/a/03", "pre/a/04", "pre/a/05", "pre/a/06", "pre/a/07",
        "pre/a/08", "pre/a/09", "pre/a/10", "pre/a/11", "pre/a/12", "pre/b/1",  "pre/b/2",
        "pre/b/3",  "pre/b/4",  "pre/b/5",  "pre/b/6",  "pre/b/7",  "pre/b/8",  "pre/c/1"};
    HOLD(names);
    struct storage_iter *it = NULL;
    struct storage_object object;
    assert_int_equal(storage_list(g.st, "", NULL, &it, &g.err), 0);
    assert_int_equal(storage_iter_next(it, &object, &g.err), 1);
    assert_string_equal(object.name, "a/01");
    assert_int_equal(storage_iter_skip(it, "a0", &g.err), 0);
    assert_int_equal(storage_iter_next(it, &object, &g.err), 1);
    assert_string_equal(object.name, "b/1");
    assert_int_equal(stub_http_count(g.stub), 4); /* two pages, the root by entries, b/ */
    assert_int_equal(storage_iter_skip(it, "b0", &g.err), 0);
    assert_int_equal(storage_iter_skip(it, "a", &g.err), 0); /* never back */
    assert_string_equal(rest_of(it), "c/1");
    assert_int_equal(stub_http_count(g.stub), 5); /* c/: the rest of b/ was not asked for */
    assert_int_equal(storage_iter_next(it, &object, &g.err), 0);
    storage_iter_free(it);
}

/* Whatever the place: the same as all names behind it. */
static void every_place_gives_the_rest(void **state)
{
    (void)state;
    static const char *const names[] = {
        "pre/a",     "pre/a+/1",  "pre/a-",    "pre/a/1",   "pre/a/2",   "pre/a/3",
        "pre/a/4",   "pre/a/5",   "pre/a/6",   "pre/a/7",   "pre/a/b/1", "pre/a/b/2",
        "pre/a/b/3", "pre/a/b/4", "pre/a/b/5", "pre/a/b/6", "pre/a/b/7", "pre/a/b0",
        "pre/a/c",   "pre/a0",    "pre/b/1/1", "pre/b/1/2", "pre/b/2/1", "pre/c"};
    static const char *const others[] = {"a/",   "a/b/", "a/b/99", "a/a",
                                         "a/bb", "b/1/", "b/1/0",  "z"};
    for (size_t n = 0; n < TM_ARRAY_LEN(names) + TM_ARRAY_LEN(others); n++) {
        (void)tear_down(state); /* the stub keeps so many requests only */
        (void)set_up(state);
        HOLD(names);
        const char *place =
            n < TM_ARRAY_LEN(names) ? names[n] + 4 : others[n - TM_ARRAY_LEN(names)];
        char expected[1024] = "";
        size_t len = 0;
        for (size_t k = 0; k < TM_ARRAY_LEN(names); k++)
            if (strcmp(names[k] + 4, place) > 0)
                len += (size_t)snprintf(expected + len, sizeof(expected) - len, "%s%s",
                                        len > 0 ? " " : "", names[k] + 4);
        TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
        assert_int_equal(storage_list(g.st, "", place, &it, &g.err), 0);
        assert_string_equal(rest_of(it), expected);
    }
}

static void a_list_that_is_none_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *body, *message;
        enum tm_err_code code;
    } cases[] = {
        {"<EnumerationResults>", "the answer is no list of blobs", TM_E_UNAVAILABLE},
        {"<a/>", "the answer is no list of blobs", TM_E_UNAVAILABLE},
        {"<EnumerationResults><Blobs><Blob><Name>pre/a</Name></Blob></Blobs></EnumerationResults>",
         "the answer is no list of blobs", TM_E_UNAVAILABLE},
        {"<EnumerationResults><Blobs><Blob><Name>pre/b</Name><Properties><Content-Length>1"
         "</Content-Length></Properties></Blob><Blob><Name>pre/a</Name><Properties>"
         "<Content-Length>1</Content-Length></Properties></Blob></Blobs></EnumerationResults>",
         "the store does not list in order of names: is it one with a hierarchical namespace?",
         TM_E_UNSUPPORTED},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
        struct storage_object object;
        reply(200, "", cases[n].body);
        assert_int_equal(storage_list(g.st, "", NULL, &it, &g.err), 0);
        assert_int_equal(storage_iter_next(it, &object, &g.err), -(int)cases[n].code);
        assert_string_equal(g.err.msg,
                            text_of("cannot list 'pre/': %s: %s", place(), cases[n].message));
    }
}

/* ---- removing ---- */

static void a_few_are_removed_one_by_one(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b/c", "d"};
    reply(202, "", "");
    reply(404, "x-ms-error-code: BlobNotFound\r\n", "");
    reply(202, "", "");
    assert_int_equal(storage_remove(g.st, names, 3, &g.err), 0);
    assert_int_equal(stub_http_count(g.stub), 3);
    reply(202, "", "");
    assert_int_equal(storage_remove(g.st, names + 1, 1, &g.err), 0);
    assert_string_equal(request_text(3),
                        "DELETE /acc/cont/pre/b/c\nx-ms-date\n"
                        "x-ms-version: 2021-12-02\nx-ms-delete-snapshots: include\n"
                        "authorization\n");
}

static void what_is_kept_by_a_policy_is_told(void **state)
{
    (void)state;
    static const char *const names[] = {"a"};
    reply(409, "x-ms-error-code: BlobImmutableDueToPolicy\r\nx-ms-request-id: id\r\n", "");
    assert_int_equal(storage_remove(g.st, names, 1, &g.err), -TM_E_REFUSED);
    assert_string_equal(g.err.msg,
                        text_of("cannot remove 'a': %s/pre/a: DELETE: HTTP 409 "
                                "BlobImmutableDueToPolicy (request id); an immutability policy or "
                                "a legal hold of the container keeps it",
                                place()));
    assert_int_equal(stub_http_count(g.stub), 1);
}

#define PART(id, status, code)                                                                     \
    "--batchresponse_1\r\nContent-Type: application/http\r\nContent-ID: " id                       \
    "\r\n\r\nHTTP/1.1 " status "\r\nx-ms-error-code: " code "\r\n\r\n"

static void many_are_removed_in_a_batch(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b+", "c", "d", "e"};
    open_with("", "AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=x");
    reply(202, "Content-Type: multipart/mixed; boundary=batchresponse_1\r\n",
          PART("0", "202 Accepted", "") PART("1", "404 Not Found", "BlobNotFound")
              PART("2", "503 Busy", "ServerBusy") PART("3", "202 Accepted", "")
                  PART("7", "202 Accepted", "") "--batchresponse_1--");
    reply(202, "", ""); /* c and e, each by itself */
    assert_int_equal(storage_remove(g.st, names, 5, &g.err), 0);
    assert_int_equal(stub_http_count(g.stub), 3);
    const struct stub_request *r = stub_http_request(g.stub, 0);
    assert_string_equal(r->target, "/acc/cont?restype=container&comp=batch&sv=1&sig=x");
    const char *boundary = sent(0, "content-type") + strlen("multipart/mixed; boundary=");
    char *date = strstr((char *)r->body, "x-ms-date: ");
    assert_non_null(date);
    char expected[4096];
    size_t len = 0;
    for (size_t n = 0; n < 5; n++)
        len += (size_t)snprintf(expected + len, sizeof(expected) - len,
                                "--%s\r\ncontent-type: application/http\r\n"
                                "content-transfer-encoding: binary\r\ncontent-id: %zu\r\n\r\n"
                                "DELETE /acc/cont/pre/%s?sv=1&sig=x HTTP/1.1\r\n%.42s"
                                "x-ms-delete-snapshots: include\r\ncontent-length: 0\r\n\r\n",
                                boundary, n, n == 1 ? "b%2B" : names[n], date);
    (void)snprintf(expected + len, sizeof(expected) - len, "--%s--\r\n", boundary);
    assert_string_equal((char *)r->body, expected);
    const char *first = stub_http_request(g.stub, 1)->target;
    const char *second = stub_http_request(g.stub, 2)->target;
    bool in_order = strcmp(first, "/acc/cont/pre/c?sv=1&sig=x") == 0;
    assert_string_equal(in_order ? first : second, "/acc/cont/pre/c?sv=1&sig=x");
    assert_string_equal(in_order ? second : first, "/acc/cont/pre/e?sv=1&sig=x");
}

/* Two times four names: the requests that carry batches, and those that do not. */
static void remove_twice(size_t batches, size_t singles)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    size_t posts = 0, before = stub_http_count(g.stub);
    assert_int_equal(storage_remove(g.st, names, 4, &g.err), 0);
    assert_string_equal(stub_http_request(g.stub, before)->method, "POST");
    assert_int_equal(storage_remove(g.st, names, 4, &g.err), 0);
    assert_int_equal(stub_http_count(g.stub) - before, batches + singles);
    for (size_t n = before; n < before + batches + singles; n++)
        posts += strcmp(stub_http_request(g.stub, n)->method, "POST") == 0;
    assert_int_equal(posts, batches);
}

static void a_store_without_batches_is_remembered(void **state)
{
    (void)state;
    reply(403, "x-ms-error-code: AuthorizationPermissionMismatch\r\n", "");
    reply(202, "", "");
    remove_twice(1, 8);
    open_with("", "AZURE_STORAGE_KEY", "a2V5");
    g.seen = 0;
    g.replies[0].status = 500;
    g.replies[0].headers[0] = '\0';
    remove_twice(1, 8);
}

static void a_batch_that_fails_for_now_is_tried_again(void **state)
{
    (void)state;
    reply(500, "x-ms-error-code: InternalError\r\n", "");
    reply(202, "", "");
    remove_twice(2, 8); /* the second is answered by an empty 202: nothing is known to be gone */
}

static void unfinished_uploads_are_the_stores_to_drop(void **state)
{
    (void)state;
    uint64_t count = 7;
    assert_int_equal(storage_sweep_leftovers(g.st, "", 0, &count, &g.err), 0);
    assert_int_equal(count, 0);
    assert_int_equal(stub_http_count(g.stub), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages_follow_each_other),
        TEST(a_place_far_behind_is_leapt_to),
        TEST(passed_directories_cost_little),
        TEST(every_place_gives_the_rest),
        TEST(a_list_that_is_none_is_told),
        TEST(a_few_are_removed_one_by_one),
        TEST(what_is_kept_by_a_policy_is_told),
        TEST(many_are_removed_in_a_batch),
        TEST(a_store_without_batches_is_remembered),
        TEST(a_batch_that_fails_for_now_is_tried_again),
        TEST(unfinished_uploads_are_the_stores_to_drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
