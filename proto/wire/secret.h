#ifndef TM_PROTO_WIRE_SECRET_H
#define TM_PROTO_WIRE_SECRET_H
/*
 * Named secrets on the wire: struct secret_map ↔ struct msg_secret.
 *
 *     struct msg_pair pairs[WIRE_PAIRS_MAX];
 *     struct msg_secret secret;
 *     msg_secret_of("s3-secret", map, pairs, &secret);   points into *map
 *     …
 *     msg_secret_to(&secret, &map, err);                 copies
 *
 * What carries one lies in memory that is zeroed when it is given back (codec_arena.wipe, buf.wipe).
 * Pure, thread safe.
 */
#include "common/secret_map.h"
#include "proto/wire/messages.h"

/* Fills pairs[WIRE_PAIRS_MAX] and *ret; both are valid as long as map. */
void msg_secret_of(const char *name, const struct secret_map *map, struct msg_pair *pairs,
                   struct msg_secret *ret);
/* *ret is as after secret_map_release before. Bad names, a name twice: TM_E_INVALID. */
int msg_secret_to(const struct msg_secret *secret, struct secret_map *ret,
                  struct tm_err *err) TM_WUR;
/* The same pairs in the same order; NULL equals NULL only. */
bool msg_secret_equal(const struct msg_secret *a, const struct msg_secret *b);
/* Bytes of names and values. */
size_t msg_secret_bytes(const struct msg_pair *pairs, size_t count);

#endif
