#ifndef TM_PROTO_REPO_ORPHANS_H
#define TM_PROTO_REPO_ORPHANS_H
/*
 * What lies under a committed backup and is not named by it: ranges that several attempts or nodes
 * stored, of which another one won, and checkpoints, which nobody needs any more. No reader looks at it;
 * it only takes room.
 */
#include "proto/repo/sweep.h"

/*
 * Removes it. The backup is read whole on the way (its metadata, not its data), and nothing is removed
 * unless that proves whole. A writer that is late may leave more: harmless, and gone with the backup.
 * Two scratches, for manifest and segments. Refused (TM_E_REFUSED) when the backup is not committed.
 */
int backup_sweep_orphans(struct object_scratch *first, struct object_scratch *second,
                         struct storage *st, const struct repo_scope *scope, const char *backup_id,
                         struct sweep_totals *ret, struct tm_err *err) TM_WUR;

#endif
