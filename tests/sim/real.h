#ifndef TM_TESTS_SIM_REAL_H
#define TM_TESTS_SIM_REAL_H
/*
 * The runner's storage work done for real, in some of the runs: agent/backup over the mock range
 * engine into ram storage that fails and drops replies, in the format of proto/format; judged by
 * proto/repo's readers. The other runs use the model of depot.c, which is a hundred times faster and
 * believes whatever the coordinator says.
 */
#include "tests/sim/sim.h"

struct sim_real; /* one runner's open backup */

void real_begin_blob(struct buf *ret);
void real_end_blob(struct buf *ret);

/* Each: 0, or negative with err; err->retryable says whether trying again makes sense. */
int real_open(struct world *w, struct sim_runner *r, bool sweep, struct tm_err *err) TM_WUR;
void real_free(struct sim_real *real);
/* Plans and stores the plan; fills r->plan and r->plan_count. */
/* What earlier attempts left: plan and done ranges go into r when *ret_found. */
int real_find(struct sim_runner *r, bool *ret_found, bool *ret_committed,
              struct tm_err *err) TM_WUR;
/* One checkpoint more; results that are in one already are passed over. */
int real_checkpoint(struct sim_runner *r, const struct msg_result *results, size_t count,
                    struct tm_err *err) TM_WUR;
/* Where the plan is stored, for a later runner of the same attempt. */
#define REAL_ROOT_LEN 12
void real_root(const struct sim_runner *r, uint8_t ret[static REAL_ROOT_LEN]);
void real_take_root(struct sim_runner *r, struct slice root, uint32_t ranges);
int real_plan(struct world *w, struct sim_runner *r, struct tm_err *err) TM_WUR;
int real_range(struct sim_runner *r, const struct sim_lease *lease, struct buf *ret_blob,
               struct tm_err *err) TM_WUR;
int real_commit(struct world *w, struct sim_runner *r, struct tm_err *err) TM_WUR;
/* grace_us: of a removal; *ret_left_us: nothing was removed, so long its grace lasts yet. */
int real_sweep(struct world *w, struct sim_runner *r, bool remove, int64_t grace_us,
               bool *ret_committed, uint64_t *ret_left_us, struct tm_err *err) TM_WUR;

/* What lies in storage now, read back whole: fills backup->manifest and ->entries; anything wrong
 * with a committed backup is a violation. */
void real_look(struct world *w, const char *backup_id);
struct storage;
void real_set_faults(struct world *w, struct storage *st);

#endif
