#ifndef TM_TESTS_UNIT_COMMON_STORAGE_S3_HELLO_H
#define TM_TESTS_UNIT_COMMON_STORAGE_S3_HELLO_H
/* One fake store for small objects that hold "hello", and what it was asked. */
#include "tests/unit/common/storage/s3/fake.h"

#define AWS FAKE_AWS
#define ERROR(code, message)                                                                       \
    "<?xml version=\"1.0\"?><Error><Code>" code "</Code><Message>" message                         \
    "</Message><RequestId>R1</RequestId></Error>"

static struct fake fake;

static TM_UNUSED int put(const char *name)
{
    return storage_put(fake.st, name, slice_str("hello"), &fake.err);
}

static TM_UNUSED struct storage_stats stats(void)
{
    struct storage_stats stats;
    storage_stats(fake.st, &stats);
    return stats;
}

static TM_UNUSED size_t count_of(const char *method, const char *target)
{
    size_t count = 0;
    const struct stub_request *r;
    for (size_t n = 0; (r = stub_http_request(fake.stub, n)) != NULL; n++)
        count += strcmp(r->method, method) == 0 && strstr(r->target, target) != NULL;
    return count;
}

#endif
