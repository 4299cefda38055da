#ifndef TM_AGENT_STORED_STORED_H
#define TM_AGENT_STORED_STORED_H
/*
 * What an agent does in a storage on the coordinator's behalf, which never opens one: it keeps there what
 * the coordinator knows of a resource, and tells what there is, page by page, for a coordinator that has
 * lost its state.
 *
 *     stored_keep(st, want, err)                   a resource's newest words, or none any more
 *     stored_page(st, want, arena, &page, err)     again with after = page.after until that is empty
 *
 * Only metadata is read: of a backup its manifest, tombstone or newest checkpoint. A page is what was there
 * when it was made; what is stored meanwhile is found by the next reading. All calls block; each may be
 * repeated. What *ret of stored_page points to lies in the arena.
 */
#include "common/storage/storage.h"
#include "proto/wire/messages.h"

int stored_keep(struct storage *st, const struct msg_intent *want, struct tm_err *err) TM_WUR;

/* TM_E_NOT_FOUND: there is no repository. */
int stored_page(struct storage *st, const struct msg_read *want, struct codec_arena *arena,
                struct msg_page *ret, struct tm_err *err) TM_WUR;

#endif
