/* One resource's intent, put or removed. Failure modes are those of proto/repo/intents.h. */
#include "agent/stored/stored.h"

#include "common/hash.h"
#include "proto/repo/intents.h"

int stored_keep(struct storage *st, const struct msg_intent *want, struct tm_err *err)
{
    TM_CLEANUP(object_scratch_freep) struct object_scratch *scratch = NULL;
    uint8_t nonce[OBJECT_NONCE_BYTES];
    struct repo_scope scope;
    int r = names_scope_set(&scope, want->cluster, want->tenant, want->incarnation, err);
    if (r < 0)
        return r;
    if (want->remove)
        return intents_remove(st, &scope, want->uid, err);
    struct intent intent = {
        .term = want->term, .counter = want->counter, .resource = want->resource};
    memcpy(intent.uid, want->uid, sizeof(intent.uid));
    if ((r = object_scratch_new(&scratch, err)) < 0 ||
        (r = random_bytes(nonce, sizeof(nonce), err)) < 0)
        return r;
    return intents_put(scratch, st, &scope, &intent, nonce, err);
}
