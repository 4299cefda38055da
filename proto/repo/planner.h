#ifndef TM_PROTO_REPO_PLANNER_H
#define TM_PROTO_REPO_PLANNER_H
/*
 * Which backup a restore starts from. What it then needs, ranges and log objects in order, is
 * streamed by backup_ranges (ranges.h).
 */
#include "proto/repo/catalog.h"
#include "proto/repo/ranges.h"

struct restore_request {
    const char *backup_id;       /* NULL = choose */
    bool immediate;              /* the backup's own consistent_at; backup_id NULL: the newest */
    int64_t target_us;           /* else: this time; 0 = none */
    const char *target_position; /* else: this engine position; NULL = none */
};

struct restore_choice {
    char backup_id[NAMES_BACKUP_ID_LEN + 1];
    int64_t commit_us;
    bool exact; /* the target is the backup's own consistent_at: no further log is needed */
};

/*
 * The named backup, or the newest committed one whose consistent_at is not after the target. Says
 * what there is when nothing fits: TM_E_NOT_FOUND "no backup of demo1/main is consistent at or
 * before …: the oldest is …".  Targets beyond consistent_at are TM_E_UNSUPPORTED as long as the
 * repository holds no log for them.
 */
int restore_choose(struct object_scratch *scratch, struct storage *st,
                   const struct repo_scope *scope, const struct restore_request *request,
                   struct restore_choice *ret, struct tm_err *err) TM_WUR;

#endif
