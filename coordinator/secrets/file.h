#ifndef TM_COORDINATOR_SECRETS_FILE_H
#define TM_COORDINATOR_SECRETS_FILE_H
/*
 * One secret in one file: a line that says what follows, then
 *
 *     tidemark secret 1 plain           XXH3-128 of the record, the record
 *     tidemark secret 1 systemd-creds   what systemd-creds made of the same, under the name
 *                                       tidemark-secret-NAME
 *
 * The record is a msgpack map {p: [{n: key, v: value}, …]}. Blocking; any thread.
 */
#include "common/secret_map.h"

#define SECRET_FILE_MAX ((size_t)256 * 1024)

/* Appends the file's bytes. `program` NULL = plain. */
int secret_file_encode(const char *name, const struct secret_map *map, const char *program,
                       struct buf *out, struct tm_err *err) TM_WUR;
/* *ret_encrypted is set as soon as it is known, also when opening it then fails. */
int secret_file_decode(const char *name, struct slice in, const char *program, bool *ret_encrypted,
                       struct secret_map *ret, struct tm_err *err) TM_WUR;

#endif
