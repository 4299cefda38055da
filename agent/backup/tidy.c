/*
 * After the commit: what the manifest does not name is removed (proto/repo/orphans.h). Nobody waits for it
 * and nothing depends on it: what stays goes with the backup.
 */
#include "agent/backup/internal.h"

#include "proto/repo/orphans.h"

int backup_tidy(struct backup_worker *w, struct backup_sweep_result *ret, struct tm_err *err)
{
    const struct backup_options *o = &w->backup->options;
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    struct sweep_totals totals;
    int r = object_scratch_new(&scratch, err);
    if (r == 0)
        r = backup_sweep_orphans(w->scratch, scratch, o->storage, &o->scope, o->backup_id, &totals,
                                 err);
    if (r < 0)
        return r;
    *ret = (struct backup_sweep_result){.objects = totals.removed, .bytes = totals.bytes};
    return 0;
}
