#ifndef TM_AGENT_ENGINE_NULL_NULL_H
#define TM_AGENT_ENGINE_NULL_NULL_H
/*
 * The null engine: a database that exists only as arithmetic. Every byte is a function of a seed, a
 * file and an offset, so a backup of any size needs no disk, and what a restore wrote can be judged
 * without keeping a copy. It ships: `engine: null` measures storage and network of a host, and
 * every test of the core uses it.
 *
 * The instance's conninfo says what there is, as "name=value" words; all are optional:
 *
 *   seed=1          other seed, other bytes
 *   identity=null1  the incarnation
 *   files=16        regular files, spread over directories of 256
 *   bytes=65536     size of each, ± a quarter, by the seed
 *   big=0           bytes of one more, big file: it is split between ranges
 *   log=300000      bytes of log between the snapshot's begin and end
 *   corrupt=0       so many blocks are reported as corrupt
 *   role=primary    primary or standby
 *   now=0           the source's time in microseconds since 1970; 0 = the clock's
 *   fail=NAME       that call fails: check, session_open, begin, end, ping, reader_open, plan,
 *                   read_range, log_next, prepare, finish, log_describe, hold_open, hold_look,
 *                   hold_touch, hold_list, log_open, log_read_file, resume; hold_taken: the hold is somebody
 *                   else's; hold_gone: somebody dropped it; resume_conflict, proof: what an earlier
 *                   session read is no good any more; ready: the reader is not yet ready, ready_conflict:
 *                   it never is, read_conflict: it is not any more
 *
 * and, of the log that a log task streams (log= bytes of it are there from the start):
 *
 *   rate=0          it grows by so many bytes a second …
 *   since=0         … since this time, in microseconds since 1970
 *   cut=0           log before this stream byte is gone
 *   branch=1        label of the branch that is written; other labels, other bytes
 *   parent= fork=0  the branch it came from, and where; before `fork` its bytes are the parent's
 *   twist=0         from this stream byte on bytes are others, under the same label (a clone)
 *   ahead=0         microseconds that the source's clock is ahead
 *   lost=0          1: holds are lost
 *   state=PATH      a file with more words, read anew with each call; holds are files beside it
 *
 * Blocks are 8 KiB; about a quarter of a block compresses, some blocks are zero. The log starts at
 * stream byte 1 MiB, has segments of 64 KiB, and a snapshot's replay_from lies at a segment's
 * start. It consists of records of 256 bytes; every 16th is a commit, every 4096th a named point,
 * and their times follow from their places. A restored directory holds the files, `log` (the stored
 * log from replay_from on), and `STARTABLE`, which restore_finish writes last.
 *
 * Thread safety: as engine.h says. No state is shared between calls but what is opened, and the
 * hold's file.
 */
#include "agent/engine/engine.h"

#define NULL_BLOCK_BYTES      8192u
#define NULL_LOG_START        (1u << 20)
#define NULL_LOG_SEGMENT      65536u
#define NULL_LOG_RECORD       256u
#define NULL_LOG_COMMIT_EVERY 16u                       /* records */
#define NULL_LOG_TIME_US      INT64_C(1600000000000000) /* plus its place: time of a commit */

extern const struct engine_ops null_engine;

/* What the engine would store at `offset` of its file number `file`: for judging a restore. */
void null_fill(uint64_t seed, uint64_t file, uint64_t offset, void *ret, size_t len);
/* The log's bytes from stream byte `at` on, as the source that `conninfo` tells of has them. */
int null_log_fill(const char *conninfo, uint64_t at, void *ret, size_t len,
                  struct tm_err *err) TM_WUR;

#endif
