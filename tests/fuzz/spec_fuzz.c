/*
 * Arbitrary bytes as a file of resources: refused with a message, or resources whose canonical form
 * reads back as the same, whose JSON becomes YAML that reads back as the same, too.
 */
#include "proto/spec/status.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_read_back(const struct resource *r, struct slice text)
{
    TM_CLEANUP(resource_freep) struct resource *back = NULL;
    struct tm_err err = {0};
    if (resource_parse_document("back", text, &back, &err) < 0)
        abort();
    if (back->document_len != r->document_len ||
        memcmp(back->document, r->document, r->document_len) != 0 || !resource_equal(r, back))
        abort();
}

static void check(const struct resource *r)
{
    static const struct resource_status status = {.phase = RESOURCE_RUNNING};
    static const struct resource_meta meta = {.uid = "u", .created_us = 1, .generation = 1};
    TM_CLEANUP(buf_release) struct buf json = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf yaml = BUF_INIT;
    struct tm_err err = {0};
    if (resource_check_apply(r, &err) < 0 && err.msg[0] == '\0')
        abort();
    must_read_back(r, slice_of(r->document, r->document_len));
    if (resource_json(r, &status, &meta, &json, &err) < 0 ||
        json_to_yaml(buf_slice(&json), &yaml, &err) < 0)
        abort();
    must_read_back(r, buf_slice(&yaml));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    struct tm_err err = {0};
    if (resource_parse("fuzz", slice_of(data, size), &list, &err) < 0) {
        if (err.code == TM_E_OK || err.msg[0] == '\0')
            abort();
        return 0;
    }
    for (size_t n = 0; n < list.count; n++)
        check(list.items[n]);
    return 0;
}
