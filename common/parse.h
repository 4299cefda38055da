#ifndef TM_COMMON_PARSE_H
#define TM_COMMON_PARSE_H
/*
 * Strict scalars: the whole text, nothing before or behind, no overflow. Pure, thread safe.
 * Messages quote the text: "'12x' is not a whole number".
 */
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

int parse_u64(const char *text, uint64_t *ret_value, struct tm_err *err) TM_WUR;
int parse_i64(const char *text, int64_t *ret_value, struct tm_err *err) TM_WUR;
/* With bounds: "70000 is not in 1 to 65535". */
int parse_u64_in(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value,
                 struct tm_err *err) TM_WUR;
/* "true" or "false" only; yes/no/on/off/1/0 are refused with a hint. */
int parse_bool(const char *text, bool *ret_value, struct tm_err *err) TM_WUR;

#endif
