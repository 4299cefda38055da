#ifndef TM_AGENT_PROBE_INTERNAL_H
#define TM_AGENT_PROBE_INTERNAL_H
/*
 * Inside agent/probe.
 *
 *   probe.c    the steps, and what is removed behind them
 *   path.c     what concerns a mounted path: its file system, room, who else sees it
 *   mount.c    mountinfo
 *   message.c  the report as it goes over the wire
 */
#include "agent/probe/probe.h"

#define PROBE_NAMES_MAX (PROBE_SMALL_COUNT + 2u) /* small ones, the big one, the token */

struct probe {
    struct storage *st;
    const struct probe_options *options;
    struct probe_report *report;
    size_t bulk_bytes;
    int64_t deadline_us;             /* mono */
    uint64_t seed;                   /* of the contents */
    char base[STORAGE_NAME_MAX + 1]; /* "probe/db-a-0123456789abcdef-" */
    char names[PROBE_NAMES_MAX][STORAGE_NAME_MAX + 1];
    bool touched[PROBE_NAMES_MAX]; /* may be in storage */
    bool kept;                     /* the store keeps what was to be removed, on purpose */
    bool away;                     /* the store did not answer: nobody waits for it again */
    size_t put_count;              /* small ones that are stored for sure */
    int64_t token_us;              /* mono: the token was put */
};

#define PROBE_BULK_NAME  (PROBE_SMALL_COUNT)
#define PROBE_TOKEN_NAME (PROBE_SMALL_COUNT + 1)

void probe_warn(struct probe_report *report, const char *fmt, ...) TM_PRINTF(2, 3);

/* ---- path.c ---- */

/* Before anything is touched: by the path as it is written. */
void probe_path_mount(const char *path, struct probe_report *report);
/* It is there: where it really lies, and how much room is left. */
void probe_path_look(const char *path, const struct probe *p);
/* Leaves the token that other nodes look for. */
void probe_token_put(struct probe *p);
/* Looks once; nothing without a token of its own. */
void probe_token_look(struct probe *p);
/* Waits until the tokens of all are seen, or for a while; then for those who still look for this one. */
void probe_token_wait(struct probe *p);

#endif
