#ifndef TM_COMMON_SIZE_H
#define TM_COMMON_SIZE_H
/*
 * Byte sizes as text. Pure, thread safe.
 *
 * Units: B, KiB MiB GiB TiB PiB (also Ki Mi Gi Ti Pi) are powers of 1024; kB KB MB GB TB PB are
 * powers of 1000; a bare number is bytes. "1.5GiB" is fine when the result is a whole number of
 * bytes.
 */
#include <stdint.h>

#include "common/err.h"

#define SIZE_TEXT_MAX 48

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define TIB (GIB * 1024)

int size_parse(const char *text, uint64_t *ret_bytes, struct tm_err *err) TM_WUR;

/* For people: "512 B", "1.5 MiB", "128.0 GiB", at most one digit of fraction. Returns `text`, which
 * has SIZE_TEXT_MAX bytes. */
char *size_format(uint64_t bytes, char *text);
/* For configuration: the largest binary unit that divides exactly, "128MiB"; size_parse reads it
 * back. */
char *size_format_exact(uint64_t bytes, char *text);

#endif
