#ifndef TM_COMMON_STORAGE_RAM_FAULT_H
#define TM_COMMON_STORAGE_RAM_FAULT_H
/*
 * The ram driver's dice and the errors it makes up. For ram.c only.
 */
#include "common/storage/storage.h"

/* True in per_mille of 1000 cases; the same for the same seed, call and purpose. */
bool ram_chance(uint64_t seed, uint64_t call, uint64_t purpose, uint32_t per_mille);
/* An error as a real store would give it. `format` is one of the STORAGE_ERROR_… words with one %s. */
int ram_injected(enum tm_err_code code, const char *format, const char *name, struct tm_err *err);

#endif
