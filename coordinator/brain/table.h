#ifndef TM_COORDINATOR_BRAIN_TABLE_H
#define TM_COORDINATOR_BRAIN_TABLE_H
/*
 * The ranges of one job: plan, leases, results. A plain data structure; who may do what and when is
 * the callers' business.
 *
 * A struct epoch (term, counter) orders all leases of a range. A range is free, leased (to at most two
 * nodes: the second one is a thief), or done. Leases lapse when their node falls silent; a lapsed
 * one may still be honoured until the range is granted again, since nobody else can have it.
 *
 * Ranges are up to a million, leases as many as all nodes hold: each lies in three lists, those of its range, of its
 * node, and of all, oldest first. So nothing that a message asks for walks more than what concerns it.
 */
#include "common/idmap.h"
#include "common/numset.h"
#include "proto/format/names.h"
#include "proto/wire/messages.h"

enum range_state { RANGE_FREE, RANGE_LEASED, RANGE_DONE };

struct table_range {
    uint32_t key_offset;
    uint16_t key_len;
    uint8_t state; /* enum range_state */
    uint8_t failures;
    bool anywhere;   /* other nodes than the lead may read it, too */
    bool stored;     /* done, as its lead says; whoever read it has not been heard of */
    bool granted;    /* by this coordinator; leases it only adopted do not fence each other */
    uint32_t leases; /* the first, TABLE_NONE = none */
    uint64_t bytes;
    struct epoch newest; /* newest lease known; of a done range, the winner */
    struct table_result *result;
};

struct table_result {
    uint64_t bytes;
    uint64_t stored_bytes;
    uint64_t files;
    uint32_t blob_len;
    uint8_t blob[];
};

#define TABLE_NONE UINT32_MAX

struct table_link { /* places in table.leases */
    uint32_t before;
    uint32_t next;
};

struct table_lease {
    struct table_link of_range;
    struct table_link of_node;
    struct table_link by_age;
    uint32_t range;
    uint32_t node; /* node.id */
    struct epoch epoch;
    uint64_t want_serial; /* request it was granted by; 0 = adopted */
    uint64_t granted_us;
};

/* A node that has, or had, leases. */
struct table_holder {
    uint32_t leases; /* the newest, TABLE_NONE = none */
    uint32_t count;
};

#define TABLE_LEASES_MAX (1u << 18) /* as many as all nodes may hold */

struct table {
    struct table_range *ranges;
    size_t count;
    size_t cap;
    struct buf keys;
    uint8_t end[WIRE_KEY_MAX];
    size_t end_len;
    struct buf begin; /* what readers need, from the lead */
    uint32_t gen;
    bool gen_known;
    bool complete;
    uint64_t bytes_total;

    struct table_lease *leases; /* places: in use, or in the list of free ones */
    size_t lease_count;         /* in use */
    size_t lease_places;
    size_t lease_cap;
    uint32_t lease_free; /* by_age.next leads on; TABLE_NONE behind them */
    uint32_t oldest;
    uint32_t newest;
    struct idmap holders; /* by node.id */
    struct table_holder **all_holders;
    size_t holder_count;
    size_t holder_cap;
    struct numset free[2]; /* ranges, by `anywhere` */

    size_t done_count;
    uint32_t *order; /* done_count of them, as they were accepted */
    size_t order_cap;
    size_t stored_count;      /* of them, by earlier attempts, or by nodes that are gone */
    uint64_t stored_bytes;    /* which read so many */
    size_t result_bytes;      /* memory */
    struct msg_counters done; /* summed up; problem unused */
};

void table_release(struct table *t);
void table_reset(struct table *t, uint32_t gen); /* the plan starts over */

/* Adds ranges [first, …); what is known already is skipped. TM_E_INVALID when they do not adjoin,
 * TM_E_LIMIT when there are too many. */
int table_plan(struct table *t, uint32_t first, const struct msg_plan_range *ranges, size_t count,
               struct tm_err *err) TM_WUR;
struct slice table_start(const struct table *t, size_t range);
struct slice table_end(const struct table *t, size_t range);

/* The lease of this range and epoch, or NULL. */
struct table_lease *table_lease_find(struct table *t, uint32_t range, struct epoch epoch);
/* Grants: *ret is valid until the next call. The range becomes leased, `epoch` its newest. */
int table_grant(struct table *t, uint32_t range, uint32_t node, struct epoch epoch,
                uint64_t want_serial, uint64_t now_us, struct table_lease **ret,
                struct tm_err *err) TM_WUR;
/* Ends one lease; a range without any is free again. */
void table_drop_lease(struct table *t, struct table_lease *lease);
void table_drop_node(struct table *t, uint32_t node);
/* One node's leases, newest first: *cursor comes from table_leases_begin; NULL behind the last one. The lease that was
 * returned may be dropped before the next call. */
uint32_t table_leases_begin(const struct table *t, uint32_t node);
struct table_lease *table_leases_next(struct table *t, uint32_t *cursor);
/* Which ranges are meant. */
enum table_which { TABLE_BOUND = 1, TABLE_ANYWHERE = 2, TABLE_BOTH = 3 };
/* Lowest free range, or SIZE_MAX. */
size_t table_next_free(struct table *t, enum table_which which);
/* A range leased once, to somebody else, since before `before_us`: the oldest; or SIZE_MAX. */
size_t table_next_steal(const struct table *t, uint32_t node, uint64_t before_us,
                        enum table_which which);
size_t table_leases_of(const struct table *t, uint32_t node);

/* A range that is done, once more: only for a bug planted on purpose. */
void table_count_again(struct table *t, uint32_t range);
/* A range that is done, and `stored`: the node that read it in this attempt says so itself. */
void table_heard(struct table *t, uint32_t range);
/* Marks done and keeps the result; all its leases end. */
int table_done(struct table *t, const struct msg_result *result, struct tm_err *err) TM_WUR;

#endif
