/*
 * Resources of several tenants, taken apart: for tables that tell of each.
 *
 * Happy path: one whose status lists tenants becomes one for each, with the resource's name and spec and that
 * tenant's status; all others stay as they are. Can fail only for lack of memory.
 */
#include "coordinator/ctl/command.h"

static int append(json_t *list, const json_t *one, const json_t *status, const char *part)
{
    json_t *item = json_pack("{s:O, s:O, s:O, s:O, s:s}", "kind", json_at(one, "kind"), "metadata",
                             json_at(one, "metadata"), "spec", json_at(one, "spec"), "status",
                             status, "part", part);
    return item == NULL ? -1 : json_array_append_new(list, item);
}

int tenants_split(const json_t *resources, bool with_whole, json_t **ret, struct tm_err *err)
{
    json_t *list = json_array();
    size_t at;
    const json_t *one;
    int bad = list == NULL ? -1 : 0;
    json_array_foreach(resources, at, one)
    {
        const json_t *tenants = json_at(one, "status.tenants");
        size_t inner;
        const json_t *status;
        if (bad == 0 && (with_whole || json_array_size(tenants) == 0))
            bad = json_array_append(list, (json_t *)(uintptr_t)one);
        json_array_foreach(tenants, inner, status)
        {
            if (bad == 0)
                bad = append(list, one, status, json_text_at(status, "tenant"));
        }
    }
    if (bad != 0) {
        json_decref(list);
        return tm_err_oom(err);
    }
    *ret = list;
    return 0;
}
