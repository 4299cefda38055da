#ifndef TM_AGENT_ENGINE_NULL_MOCK_H
#define TM_AGENT_ENGINE_NULL_MOCK_H
/*
 * The mock range engine: a key-value store with revisions and no log, as etcd is. It exists to keep
 * the core honest: nothing in there may assume files of a database directory, one position for a
 * whole backup, or a log.
 *
 *   - Keys are "k" and eight digits; a range is any span of them.
 *   - Each range is consistent at its own revision: the later it is read, the higher (rising with
 *     every read_range of a reader). The revision stands at the start of the stored part.
 *   - There is nothing to read after the end but one entry "revision": the highest one seen.
 *
 * conninfo words, all optional: seed=1 identity=mock1 keys=1000 value=100 revision=1.
 * Stored: one regular file "kv/<number of the first key>" per range: u64 revision, then u32 key
 * length, key, u32 value length, value, in key order. A restored directory holds those files and
 * STARTABLE.
 */
#include "agent/engine/engine.h"

extern const struct engine_ops mock_engine;

#endif
