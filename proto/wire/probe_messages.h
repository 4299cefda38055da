#ifndef TM_PROTO_WIRE_PROBE_MESSAGES_H
#define TM_PROTO_WIRE_PROBE_MESSAGES_H
/*
 * Parts of heartbeat and desired that carry a storage test, or something else that is to be done in a
 * storage once, and the answer.
 */
#include "proto/wire/intent_messages.h"
#include "proto/wire/message_parts.h"

/* In the order in which they are done. */
enum probe_step {
    PROBE_OPEN = 1,
    PROBE_PUT = 2,    /* small objects, written */
    PROBE_GET = 3,    /* and read back */
    PROBE_RANGE = 4,  /* a part of one */
    PROBE_LIST = 5,   /* they are there */
    PROBE_AGAIN = 6,  /* one is created a second time */
    PROBE_UPLOAD = 7, /* a big object, for the throughput */
    PROBE_DOWNLOAD = 8,
    PROBE_REMOVE = 9,
    PROBE_GONE = 10, /* none is listed any more */
};
#define PROBE_STEP_LAST PROBE_GONE

enum probe_outcome {
    PROBE_SKIPPED = 1, /* what it needs was not there */
    PROBE_OK = 2,
    PROBE_FAILED = 3,
    PROBE_RUNNING = 4, /* not over when this was told */
};

/* "write", "read", …; "ok", "failed", …: for people and JSON. */
const char *probe_step_text(unsigned step);
const char *probe_outcome_text(unsigned outcome);

/* What the store says to a second creation of a name. */
enum probe_create {
    PROBE_CREATE_UNKNOWN,
    PROBE_CREATE_FENCED, /* refuses it, atomically */
    PROBE_CREATE_LOOKED, /* takes it: names alone keep writers apart */
};

/* error: FAILED, in the storage's own words */
#define MSG_PROBE_STEP_FIELDS(X, T)                                                                \
    X(T, u32, step, "s", REQ, 0, 255)                                                              \
    X(T, u32, outcome, "o", REQ, 0, 255)                                                           \
    X(T, u64, took_us, "t", OPT, 0, UINT64_MAX)                                                    \
    X(T, msg, error, "x", OPT, 0, msg_error)
CODEC_DECLARE(msg_probe_step, MSG_PROBE_STEP_FIELDS);

/* A storage to be tested from this node: asked until it is answered, told apart by its id, which is
 * the same for all nodes that are asked. With `keep` or `read` that is done, and nothing is tested. */
#define MSG_PROBE_FIELDS(X, T)                                                                     \
    X(T, u64, id, "i", REQ, 0, UINT64_MAX)                                                         \
    X(T, txt, storage, "r", REQ, 0, WIRE_URL_MAX)                                                  \
    X(T, u32, timeout_ms, "t", REQ, 0, 3600000)                                                    \
    X(T, u32, nodes, "n", OPT, 0, UINT32_MAX) /* that are asked */                                 \
    X(T, msg, secret, "v", OPT, 0, msg_secret)                                                     \
    X(T, msg, keep, "k", OPT, 0, msg_intent)                                                       \
    X(T, msg, read, "g", OPT, 0, msg_read)
CODEC_DECLARE(msg_probe, MSG_PROBE_FIELDS);

/*
 * What a node found. What concerns a mounted path is there with `mount` alone. seen: the nodes whose
 * token was found in the same directory, this one among them. error: the test as a whole could not be
 * done, or was not done in time; the step it hung in is RUNNING then.
 */
#define MSG_PROBE_ANSWER_FIELDS(X, T)                                                              \
    X(T, u64, id, "i", REQ, 0, UINT64_MAX)                                                         \
    X(T, list, steps, "s", OPT, 0, msg_probe_step, WIRE_PROBE_STEPS)                               \
    X(T, u64, put_us, "pu", OPT, 0, UINT64_MAX) /* medians */                                      \
    X(T, u64, get_us, "gu", OPT, 0, UINT64_MAX)                                                    \
    X(T, u64, upload_rate, "ur", OPT, 0, UINT64_MAX) /* bytes a second */                          \
    X(T, u64, download_rate, "dr", OPT, 0, UINT64_MAX)                                             \
    X(T, u32, create, "c", OPT, 0, 31) /* enum probe_create */                                     \
    X(T, flag, has_skew, "hk", OPT, 0, 0)                                                          \
    X(T, i64, skew_us, "k", OPT, 0, 0) /* the store's clock minus the node's */                    \
    X(T, txt, mount, "m", OPT, 0, WIRE_PATH_MAX)                                                   \
    X(T, txt, mount_source, "mo", OPT, 0, WIRE_PATH_MAX) /* "server:/export", a device */          \
    X(T, str, fs_type, "mf", OPT, 0, 63)                                                           \
    X(T, flag, network, "mn", OPT, 0, 0) /* a file system of the network */                        \
    X(T, flag, has_free, "hf", OPT, 0, 0)                                                          \
    X(T, u64, free_bytes, "f", OPT, 0, UINT64_MAX)                                                 \
    X(T, strs, seen, "n", OPT, 0, WIRE_NAME_MAX, WIRE_PROBE_NODES)                                 \
    X(T, strs, warnings, "w", OPT, 0, WIRE_TEXT_MAX, WIRE_WARNINGS_MAX)                            \
    X(T, flag, kept, "wk", OPT, 0, 0)       /* `keep`: done */                                     \
    X(T, msg, page, "wp", OPT, 0, msg_page) /* `read` */                                           \
    X(T, msg, error, "x", OPT, 0, msg_error)
CODEC_DECLARE(msg_probe_answer, MSG_PROBE_ANSWER_FIELDS);

#endif
