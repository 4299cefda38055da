#ifndef TM_PROTO_SPEC_STATUS_H
#define TM_PROTO_SPEC_STATUS_H
/*
 * What is true of a resource: the `status` block of the contract. Filled by the coordinator's
 * brain, stored beside the spec, rendered as JSON (json.h). Encoded with the wire's field tables,
 * so a stored status of an older version still reads.
 *
 * Times are µs since 1970, 0 = not yet.
 */
#include "proto/wire/codec.h"

#define STATUS_NAME_MAX       63
#define STATUS_TEXT_MAX       511
#define STATUS_CONDITIONS_MAX 16
#define STATUS_PROBLEMS_MAX   32 /* further ones are counted only */

#define STATUS_PHASE_SCHEDULED "Scheduled"
#define STATUS_PHASE_PREPARE   "Prepare"
#define STATUS_PHASE_RUNNING   "Running"
#define STATUS_PHASE_COMPLETE  "Complete"
#define STATUS_PHASE_FAILED    "Failed"

/* type: a phase or another fact ("Complete", "WaitingForAgent"); state: "True" | "False" */
#define STATUS_CONDITION_FIELDS(X, T)                                                              \
    X(T, str, type, "t", REQ, 0, STATUS_NAME_MAX)                                                  \
    X(T, str, state, "s", REQ, 0, 15)                                                              \
    X(T, str, reason, "r", OPT, 0, STATUS_NAME_MAX)                                                \
    X(T, txt, message, "m", OPT, 0, STATUS_TEXT_MAX)                                               \
    X(T, i64, since_us, "c", OPT, 0, 0)
CODEC_DECLARE(status_condition, STATUS_CONDITION_FIELDS);

#define STATUS_ERROR_FIELDS(X, T)                                                                  \
    X(T, str, node, "n", OPT, 0, STATUS_NAME_MAX)                                                  \
    X(T, str, stage, "s", OPT, 0, 31)                                                              \
    X(T, i64, since_us, "t", OPT, 0, 0)                                                            \
    X(T, txt, message, "m", REQ, 0, STATUS_TEXT_MAX)                                               \
    X(T, u32, code, "c", OPT, 0, 255) /* enum tm_err_code */
CODEC_DECLARE(status_error, STATUS_ERROR_FIELDS);

/* Something an operator must hear of though the backup is good: a corrupt page. */
#define STATUS_PROBLEM_FIELDS(X, T) X(T, txt, text, "m", REQ, 0, STATUS_TEXT_MAX)
CODEC_DECLARE(status_problem, STATUS_PROBLEM_FIELDS);

#define RESOURCE_STATUS_FIELDS(X, T)                                                               \
    X(T, str, phase, "p", REQ, 0, 31)                                                              \
    X(T, str, backup_id, "i", OPT, 0, STATUS_NAME_MAX)                                             \
    X(T, txt, backup_path, "u", OPT, 0, 1023)       /* where it lies, ends in the backup's id */   \
    X(T, u64, backup_size, "b", OPT, 0, UINT64_MAX) /* stored bytes */                             \
    X(T, u64, data_size, "d", OPT, 0, UINT64_MAX)   /* bytes of the source */                      \
    X(T, u64, log_size, "l", OPT, 0, UINT64_MAX)                                                   \
    X(T, i64, commit_us, "c", OPT, 0, 0)                                                           \
    X(T, str, position, "o", OPT, 0, STATUS_NAME_MAX + 1)                                          \
    X(T, str, lineage, "g", OPT, 0, STATUS_NAME_MAX)                                               \
    X(T, i64, started_us, "s", OPT, 0, 0)                                                          \
    X(T, i64, completed_us, "e", OPT, 0, 0)                                                        \
    X(T, u64, ranges_total, "rt", OPT, 0, UINT64_MAX)                                              \
    X(T, u64, ranges_done, "rd", OPT, 0, UINT64_MAX)                                               \
    X(T, u64, bytes_total, "bt", OPT, 0, UINT64_MAX)                                               \
    X(T, u64, bytes_done, "bd", OPT, 0, UINT64_MAX)                                                \
    X(T, u64, files, "f", OPT, 0, UINT64_MAX)                                                      \
    X(T, u64, pages_checked, "pc", OPT, 0, UINT64_MAX)                                             \
    X(T, u64, pages_unverified, "pu", OPT, 0, UINT64_MAX)                                          \
    X(T, u64, pages_corrupt, "px", OPT, 0, UINT64_MAX)                                             \
    X(T, u32, attempt, "a", OPT, 0, UINT32_MAX)                                                    \
    X(T, str, node, "n", OPT, 0, STATUS_NAME_MAX) /* the lead */                                   \
    X(T, msg, last_error, "x", OPT, 0, status_error)                                               \
    X(T, list, conditions, "k", OPT, 0, status_condition, STATUS_CONDITIONS_MAX)                   \
    X(T, list, problems, "q", OPT, 0, status_problem, STATUS_PROBLEMS_MAX)
CODEC_DECLARE(resource_status, RESOURCE_STATUS_FIELDS);

#endif
