#ifndef TM_PROTO_REPO_INTENTS_H
#define TM_PROTO_REPO_INTENTS_H
/*
 * What the coordinator knew of its resources, kept beside what they are about: so that a coordinator
 * whose state is lost can show the same list again.
 *
 *     intents_put(scratch, st, &scope, &intent, nonce, err)    a newer one of a uid replaces the older
 *     intents_remove(st, &scope, uid, err)                     nothing is kept of it any more
 *     intents_open → intents_next … → intents_close            the newest of each uid
 *
 * Nothing is overwritten: each is an object of its own with its epoch in the name, and the older ones of
 * its uid are removed behind it. So a writer that comes late changes nothing, and at worst leaves an
 * object that does not count, until the next one of that uid.
 */
#include "proto/format/records.h"

/* One that is there already under this epoch must say the same, or it is TM_E_CONFLICT. */
int intents_put(struct object_scratch *scratch, struct storage *st, const struct repo_scope *scope,
                const struct intent *intent, const uint8_t nonce[OBJECT_NONCE_BYTES],
                struct tm_err *err) TM_WUR;
int intents_remove(struct storage *st, const struct repo_scope *scope, const char *uid,
                   struct tm_err *err) TM_WUR;

/* The newest of one uid; TM_E_NOT_FOUND: there is none. */
int intents_newest(struct storage *st, const struct repo_scope *scope, const char *uid,
                   struct name_parts *ret, struct tm_err *err) TM_WUR;

struct intents {
    struct storage_iter *it;
    size_t base; /* of a full name, where the relative one begins */
    struct name_parts seen;
    bool has_seen;
};
/* after: a uid, whose like comes no more; "" = from the first. */
int intents_open(struct storage *st, const struct repo_scope *scope, const char *after,
                 struct intents *ret, struct tm_err *err) TM_WUR;
/* 1 = the newest epoch of the next uid, ascending; 0 = end. */
int intents_next(struct intents *list, struct name_parts *ret, struct tm_err *err) TM_WUR;
void intents_close(struct intents *list);

#endif
