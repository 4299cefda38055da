/*
 * The null engine's proof: all of the log has to be there, byte for byte as the source writes it.
 * fail=proof, said when the snapshot began, makes the end of the proof fail.
 */
#include "agent/engine/null/log.h"

#include "agent/engine/null/null.h"
#include "agent/engine/null/restore.h"
#include "agent/engine/null/source.h"

#define PIECE_BYTES 4096u

struct engine_proof {
    struct null_config config;
    uint64_t next;
};

int null_proof_open(struct slice begin, struct engine_proof **ret, struct tm_err *err)
{
    struct null_config c;
    int r = null_begin_config(begin, &c, err);
    if (r < 0)
        return r;
    struct engine_proof *proof = calloc(1, sizeof(*proof));
    if (!proof)
        return tm_err_oom(err);
    proof->config = c;
    proof->next = NULL_LOG_START;
    *ret = proof;
    return 0;
}

int null_proof_push(struct engine_proof *proof, struct slice bytes, struct tm_err *err)
{
    uint8_t want[PIECE_BYTES];
    for (size_t at = 0; at < bytes.len;) {
        const size_t n = TM_MIN(bytes.len - at, sizeof(want));
        null_source_log(&proof->config, proof->next, want, n);
        if (memcmp(want, bytes.data + at, n) != 0)
            return tm_err_set(err, TM_E_CONFLICT, "the log at %llu is not the source's",
                              (unsigned long long)proof->next);
        proof->next += n;
        at += n;
    }
    return 0;
}

int null_proof_end(struct engine_proof *proof, struct slice end, struct tm_err *err)
{
    const uint64_t stop = NULL_LOG_START + proof->config.log;
    (void)end;
    if (strcmp(proof->config.fail, "proof") == 0)
        return tm_err_set(err, TM_E_CONFLICT, "proof: asked to fail by conninfo");
    if (proof->next < stop)
        return tm_err_set(err, TM_E_CONFLICT, "the log ends at %llu, but the snapshot at %llu",
                          (unsigned long long)proof->next, (unsigned long long)stop);
    return 0;
}

void null_proof_close(struct engine_proof *proof)
{
    free(proof);
}
