/*
 * Arbitrary bytes as an answer of S3: refused with a reason, or a page of keys in order; and as an
 * error document: codes and messages within their bounds, without control characters. The first byte
 * says what kind of answer it is.
 */
#include <ctype.h>
#include <stdlib.h>

#include "common/storage/s3/internal.h"
#include "common/storage/s3/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PREFIX "p/"
#define LAST   "p/a"

static void check_page(struct slice answer, bool marker)
{
    static struct s3_page page;
    struct tm_err err = {0};
    if (s3_page_read(&page, answer, marker, PREFIX, LAST, &err) < 0) {
        if (err.code != TM_E_CORRUPT || err.msg[0] == '\0' || page.count != 0)
            abort();
        return;
    }
    const char *last = LAST;
    for (size_t n = 0; n < page.count; n++) {
        const char *key = s3_page_key(&page, n);
        if (strncmp(key, PREFIX, strlen(PREFIX)) != 0 || strcmp(key, last) <= 0 ||
            strlen(key) > S3_KEY_MAX)
            abort();
        last = key;
    }
    if (page.truncated && page.token[0] == '\0')
        abort();
}

static void check_text(const char *text, size_t size)
{
    size_t len = strnlen(text, size);
    if (len == size)
        abort();
    for (size_t at = 0; at < len; at++)
        if (iscntrl((unsigned char)text[at]))
            abort();
}

static void check_error(struct slice answer, unsigned status, enum s3_answer kind)
{
    static struct s3 s3;
    struct s3_call c = {.s3 = &s3, .answer = kind};
    c.call.arg = &c;
    c.call.x.status = status;
    struct tm_err err;
    if (buf_append_slice(&c.call.x.answer, answer, &err) < 0)
        abort();
    struct store_error error;
    bool bad = s3_read_error(&c.call, &error);
    check_text(error.code, sizeof(error.code));
    check_text(error.message, sizeof(error.message));
    check_text(error.request_id, sizeof(error.request_id));
    check_text(c.right_region, sizeof(c.right_region));
    if (bad && status >= 300)
        abort();
    buf_release(&c.call.x.answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice answer = slice_of(data + 1, size - 1);
    unsigned kind = (data[0] + 2u) % 5; /* '0' is the first */
    switch (kind) {
    case 0:
    case 1:
        check_page(answer, kind == 1);
        break;
    case 2:
        check_error(answer, 403, S3_ANSWER_ANY);
        break;
    case 3:
        check_error(answer, 200, S3_ANSWER_COMPLETE);
        break;
    default:
        check_error(answer, 200, S3_ANSWER_DELETE);
        break;
    }
    return 0;
}
