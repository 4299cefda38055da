#ifndef TM_TESTS_LIB_STORAGE_PATTERN_H
#define TM_TESTS_LIB_STORAGE_PATTERN_H
/*
 * Objects of any size whose bytes a seed makes, so that each byte can be checked and none need be
 * kept: they differ from seed to seed and from place to place.
 */
#include "common/storage/storage.h"

void pattern_fill(uint64_t seed, uint64_t offset, uint8_t *out, size_t len);
/* Writes in steps that are no multiple of anything. */
int pattern_write(struct storage_writer *w, uint64_t seed, size_t size, struct tm_err *err) TM_WUR;
int pattern_put(struct storage *st, const char *name, uint64_t seed, size_t size, bool seals,
                struct tm_err *err) TM_WUR;
/* 0 when these bytes of the object are the pattern's; 1 when they are others; negative = error. */
int pattern_differs(struct storage *st, const char *name, uint64_t seed, uint64_t offset,
                    size_t len, struct tm_err *err) TM_WUR;

#endif
