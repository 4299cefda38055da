/* Arbitrary bytes as YAML: refused or a tree whose every node can be walked. */
#include "common/yaml.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long walk(const struct yaml_node *node)
{
    unsigned long sum = strlen(node->text) + node->line + node->column;
    uint32_t children = 0;
    for (const struct yaml_node *child = node->first; child != NULL; child = child->next) {
        if ((node->kind == YAML_KIND_MAP) != (child->key != NULL))
            abort();
        sum += walk(child);
        children++;
    }
    if (children != node->count)
        abort();
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tm_err err = {0};
    TM_CLEANUP(yaml_freep) struct yaml *y = NULL;
    if (yaml_parse("fuzz", slice_of(data, size), &y, &err) < 0) {
        if (err.code == TM_E_OK || err.msg[0] == '\0')
            abort();
        return 0;
    }
    for (size_t n = 0; n < yaml_doc_count(y); n++)
        if (walk(yaml_doc(y, n)) == 0)
            abort();
    return 0;
}
