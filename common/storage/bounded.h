#ifndef TM_COMMON_STORAGE_BOUNDED_H
#define TM_COMMON_STORAGE_BOUNDED_H
/*
 * A storage to read from that may hang, as a mounted path does whose server is gone: every call comes
 * back all the same.
 *
 *     storage_bounded_new → storage_stat, storage_read, storage_list … → storage_free
 *
 * Calls are made one after the other by a thread of its own; the first of them opens the storage. One
 * that takes longer than timeout_ms is left behind: it is a retryable TM_E_TIMEOUT, and so is, at once,
 * each later one until it has come back. What is left behind touches nothing of the caller's, and when it
 * comes back and the storage was freed meanwhile, the thread ends and takes all with it. Freeing waits no
 * longer than a call, and not at all when one was left behind.
 *
 * Nothing can be written through it: TM_E_UNSUPPORTED.
 */
#include "common/storage/storage.h"

/* options are copied, the secret, too. */
int storage_bounded_new(const char *url, const struct storage_options *options, unsigned timeout_ms,
                        struct storage **ret, struct tm_err *err) TM_WUR;
/* Whether a call was left behind and has not come back. Only of a storage made here. */
bool storage_bounded_hangs(struct storage *st);

#endif
