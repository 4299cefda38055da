/* Lists of S3: by page, by token or marker, and those that cannot be. */
#include "tests/unit/common/storage/s3/fake.h"

#include "common/clock.h"
#include "common/storage/s3/s3.h"

#define AWS   FAKE_AWS
#define PROXY "proxy=http://127.0.0.1:%u"

static struct fake fake;

/* A page of names n/%05u, from `first` on. */
static void page(struct buf *out, unsigned first, unsigned count, const char *rest)
{
    struct tm_err err;
    out->len = 0;
    assert_int_equal(buf_printf(out, &err,
                                "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns="
                                "\"http://s3.amazonaws.com/doc/2006-03-01/\">\n%s",
                                rest),
                     0);
    for (unsigned n = first; n < first + count; n++)
        assert_int_equal(
            buf_printf(out, &err,
                       "  <Contents>\n    <Key>pre/n/%05u</Key>\n    <LastModified>"
                       "2026-01-02T03:04:05.000Z</LastModified>\n    <ETag>&quot;x&quot;</ETag>\n"
                       "    <Size>%u</Size>\n  </Contents>\n",
                       n, n),
            0);
    assert_int_equal(buf_printf(out, &err, "</ListBucketResult>"), 0);
}

static void lists_go_on_by_token(void **state)
{
    (void)state;
    struct buf pages[3] = {BUF_INIT, BUF_INIT, BUF_INIT};
    page(&pages[0], 0, 1000,
         "<IsTruncated>true</IsTruncated>"
         "<NextContinuationToken>1/a+b=</NextContinuationToken>");
    page(&pages[1], 1000, 1000,
         "<IsTruncated>true</IsTruncated>"
         "<NextContinuationToken>2</NextContinuationToken>");
    page(&pages[2], 2000, 5, "<IsTruncated>false</IsTruncated>");
    const struct rule rules[] = {
        {.method = "GET",
         .target = "continuation-token=2",
         .body = (char *)pages[2].data,
         .body_len = pages[2].len},
        {.method = "GET",
         .target = "continuation-token=1%2Fa%2Bb%3D",
         .body = (char *)pages[1].data,
         .body_len = pages[1].len},
        {.method = "GET", .body = (char *)pages[0].data, .body_len = pages[0].len}};
    FAKE_OPEN(&fake, rules, AWS);
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object o;
    assert_int_equal(storage_list(fake.st, "n/", NULL, &it, &fake.err), 0);
    unsigned count = 0;
    int r;
    while ((r = storage_iter_next(it, &o, &fake.err)) == 1) {
        char name[16];
        (void)snprintf(name, sizeof(name), "n/%05u", count);
        assert_string_equal(o.name, name);
        assert_int_equal(o.size_bytes, count);
        count++;
    }
    assert_int_equal(r, 0);
    assert_int_equal(count, 2005);
#define REST "encoding-type=url&list-type=2&max-keys=1000&prefix=pre%2Fn%2F"
    fake_expect(&fake, "GET /tank?" REST "\n"
                       "GET /tank?continuation-token=1%2Fa%2Bb%3D&" REST "\n"
                       "GET /tank?continuation-token=2&" REST "\n");
    fake_close(&fake);
    for (size_t n = 0; n < TM_ARRAY_LEN(pages); n++)
        buf_release(&pages[n]);
}

static void skips_within_and_beyond_a_page(void **state)
{
    (void)state;
    TM_CLEANUP(buf_release) struct buf first = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf last = BUF_INIT;
    page(&first, 11, 1000,
         "<IsTruncated>true</IsTruncated>"
         "<NextContinuationToken>1</NextContinuationToken>");
    page(&last, 5001, 1, "<IsTruncated>false</IsTruncated>");
    const struct rule rules[] = {{.method = "GET",
                                  .target = "start-after=pre%2Fn%2F00010",
                                  .body = (char *)first.data,
                                  .body_len = first.len},
                                 {.method = "GET",
                                  .target = "start-after=pre%2Fn%2F05000",
                                  .body = (char *)last.data,
                                  .body_len = last.len}};
    FAKE_OPEN(&fake, rules, AWS);
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object o;
    assert_int_equal(storage_list(fake.st, "n/", "n/00010", &it, &fake.err), 0);
    assert_int_equal(storage_iter_next(it, &o, &fake.err), 1);
    assert_string_equal(o.name, "n/00011");
    assert_int_equal(storage_iter_skip(it, "n/00500", &fake.err), 0);
    assert_int_equal(storage_iter_skip(it, "n/00100", &fake.err), 0);
    assert_int_equal(storage_iter_next(it, &o, &fake.err), 1);
    assert_string_equal(o.name, "n/00501");
    assert_int_equal(storage_iter_skip(it, "n/05000", &fake.err), 0);
    assert_int_equal(storage_iter_next(it, &o, &fake.err), 1);
    assert_string_equal(o.name, "n/05001");
    assert_int_equal(storage_iter_next(it, &o, &fake.err), 0);
    fake_expect(&fake, "GET /tank?" REST "&start-after=pre%2Fn%2F00010\n"
                       "GET /tank?" REST "&start-after=pre%2Fn%2F05000\n");
    fake_close(&fake);
}

static void foreign_names_are_passed_over(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {.method = "GET",
         .body = "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false"
                 "</IsTruncated><Contents><Key>pre/</Key></Contents><Contents><Key>pre/.hidden"
                 "</Key></Contents><Contents><Key>pre/a%00b</Key></Contents></ListBucketResult>",
         .times = 1},
        {.method = "GET",
         .body = "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false"
                 "</IsTruncated><Contents><Key>pre/</Key></Contents><Contents><Key>pre/.hidden"
                 "</Key></Contents><Contents><Key>pre/a+b</Key></Contents><Contents><Key>"
                 "pre%2Fa%2Bb</Key></Contents><Contents><Key>pre/d%2F</Key></Contents>"
                 "</ListBucketResult>"}};
    FAKE_OPEN(&fake, rules, AWS);
    struct storage_iter *it;
    struct storage_object o;
    assert_int_equal(storage_list(fake.st, "", NULL, &it, &fake.err), 0);
    assert_int_equal(storage_iter_next(it, &o, &fake.err), -TM_E_CORRUPT);
    fake_expect_error(&fake, "cannot list 'pre/': http://STORE/tank: a key is not encoded rightly "
                             "or too long");
    storage_iter_free(it);
    assert_int_equal(storage_list(fake.st, "", NULL, &it, &fake.err), 0);
    assert_int_equal(storage_iter_next(it, &o, &fake.err), 1);
    assert_string_equal(o.name, "a+b");
    assert_int_equal(storage_iter_next(it, &o, &fake.err), 0);
    storage_iter_free(it);
    fake_close(&fake);
}

static void lists_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *body, *message;
    } cases[] = {
        {"<html/>", "the answer is a 'html', not a list"},
        {"<ListBucketResult><Contents><Key>pre/b</Key></Contents><Contents><Key>pre/a</Key>"
         "</Contents></ListBucketResult>",
         "key 'pre/a' is out of order"},
        {"<ListBucketResult><Contents><Key>elsewhere</Key></Contents></ListBucketResult>",
         "key 'elsewhere' was not asked for"},
        {"<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
         "a listed object has no key"},
        {"<ListBucketResult><Contents><Size>-1</Size></Contents></ListBucketResult>",
         "'-1' is not a whole number"},
        {"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
         "there is more, but not how to get it"},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        const struct rule rules[] = {{.method = "GET", .body = cases[n].body}};
        FAKE_OPEN(&fake, rules, AWS);
        TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
        struct storage_object o;
        assert_int_equal(storage_list(fake.st, "", NULL, &it, &fake.err), 0);
        assert_int_equal(storage_iter_next(it, &o, &fake.err), -TM_E_CORRUPT);
        char text[256];
        (void)snprintf(text, sizeof(text), "cannot list 'pre/': http://STORE/tank: %s",
                       cases[n].message);
        fake_expect_error(&fake, text);
        fake_close(&fake);
    }
    TM_CLEANUP(buf_release) struct buf long_page = BUF_INIT;
    page(&long_page, 0, 1001, "");
    const struct rule rules[] = {
        {.method = "GET", .body = (char *)long_page.data, .body_len = long_page.len}};
    FAKE_OPEN(&fake, rules, AWS);
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object o;
    assert_int_equal(storage_list(fake.st, "", NULL, &it, &fake.err), 0);
    assert_int_equal(storage_iter_next(it, &o, &fake.err), -TM_E_CORRUPT);
    fake_expect_error(&fake,
                      "cannot list 'pre/': http://STORE/tank: more than 1000 objects in one page");
    fake_close(&fake);
}

#define ERROR_OF(code)                                                                             \
    "<?xml version=\"1.0\"?><Error><Code>" code "</Code><Message>m</Message>"                      \
    "<RequestId>r1</RequestId></Error>"
#define ONE_KEY "<ListBucketResult><Contents><Key>pre/a</Key></Contents>"

/* What passes is asked for again; what does not is told with all that is known of it. */
static void answers_that_are_no_list_pass(void **state)
{
    (void)state;
    static const struct rule passing[] = {
        {.method = "GET", .times = 1, .body = ERROR_OF("InternalError")},
        {.method = "GET", .times = 1, .body = ONE_KEY},
        {.method = "GET", .times = 1, .body = ERROR_OF("SlowDown")},
        {.method = "GET", .times = 1, .body = ""},
        {.method = "GET", .body = ONE_KEY "</ListBucketResult>"}};
    FAKE_OPEN(&fake, passing, AWS);
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object o;
    assert_int_equal(storage_list(fake.st, "", NULL, &it, &fake.err), 0);
    assert_int_equal(storage_iter_next(it, &o, &fake.err), 1);
    assert_string_equal(o.name, "a");
    assert_int_equal(storage_iter_next(it, &o, &fake.err), 0);
    struct storage_stats stats;
    storage_stats(fake.st, &stats);
    assert_int_equal(stats.retries, 4);
    assert_int_equal(stats.limit, stats.limit_max / 2);
    fake_close(&fake);

    static const struct {
        const char *body;
        int result;
        const char *message;
    } cases[] = {
        {ERROR_OF("AccessDenied"), -TM_E_PERMISSION,
         "cannot list 'pre/': http://STORE/tank/: GET: HTTP 200 AccessDenied: m (request r1)"},
        {ONE_KEY, -TM_E_UNAVAILABLE,
         "cannot list 'pre/': http://STORE/tank/: GET: HTTP 200 IncompleteList: the list is not "
         "well formed XML"},
        {"<!DOCTYPE x [<!ENTITY a \"b\">]><ListBucketResult>&a;</ListBucketResult>",
         -TM_E_UNAVAILABLE,
         "cannot list 'pre/': http://STORE/tank/: GET: HTTP 200 IncompleteList: the list is not "
         "well formed XML"},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        const struct rule rules[] = {{.method = "GET", .body = cases[n].body}};
        FAKE_OPEN(&fake, rules, AWS);
        TM_CLEANUP(storage_iter_freep) struct storage_iter *bad = NULL;
        assert_int_equal(storage_list(fake.st, "", NULL, &bad, &fake.err), 0);
        assert_int_equal(storage_iter_next(bad, &o, &fake.err), cases[n].result);
        fake_expect_error(&fake, cases[n].message);
        fake_close(&fake);
    }
}

static void cos_lists_by_marker(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {.method = "GET",
         .target = "marker=pre%2Fb",
         .body = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>pre/c</Key>"
                 "</Contents></ListBucketResult>"},
        {.method = "GET",
         .body = "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
                 "<NextMarker>pre%2Fb</NextMarker><Contents><Key>pre%2Fa</Key><Size>7</Size>"
                 "<LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents><Contents>"
                 "<Key>pre%2Fb</Key></Contents></ListBucketResult>"}};
    FAKE_OPEN(&fake, rules,
              "s3://bucket-125/pre?endpoint=http://cos.ap-guangzhou.myqcloud.com&" PROXY);
    TM_CLEANUP(storage_iter_freep) struct storage_iter *it = NULL;
    struct storage_object o;
    assert_int_equal(storage_list(fake.st, "", NULL, &it, &fake.err), 0);
    assert_int_equal(storage_iter_next(it, &o, &fake.err), 1);
    assert_string_equal(o.name, "a");
    assert_int_equal(o.size_bytes, 7);
    assert_int_equal(o.modified_us, INT64_C(1767323045000000));
    assert_int_equal(storage_iter_next(it, &o, &fake.err), 1);
    assert_string_equal(o.name, "b");
    assert_int_equal(storage_iter_next(it, &o, &fake.err), 1);
    assert_string_equal(o.name, "c");
    assert_int_equal(storage_iter_next(it, &o, &fake.err), 0);
#define COS "http://bucket-125.cos.ap-guangzhou.myqcloud.com"
    fake_expect(&fake,
                "GET " COS "/?encoding-type=url&max-keys=1000&prefix=pre%2F\n"
                "GET " COS "/?marker=pre%2Fb&encoding-type=url&max-keys=1000&prefix=pre%2F\n");
    fake_close(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_go_on_by_token),
        cmocka_unit_test(skips_within_and_beyond_a_page),
        cmocka_unit_test(foreign_names_are_passed_over),
        cmocka_unit_test(lists_that_cannot_be_are_refused),
        cmocka_unit_test(answers_that_are_no_list_pass),
        cmocka_unit_test(cos_lists_by_marker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
