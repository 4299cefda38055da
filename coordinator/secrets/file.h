#ifndef TM_COORDINATOR_SECRETS_FILE_H
#define TM_COORDINATOR_SECRETS_FILE_H
/*
 * One secret in one file: a line that says what follows, then
 *
 *     tidemark secret 1 plain               XXH3-128 of the record, the record
 *     tidemark secret 1 systemd-creds       what systemd-creds made of the same, under the name
 *                                           tidemark-secret-NAME
 *     tidemark secret 2 aes-256-gcm ID      the same closed with the key of that id (key.h), the label
 *                                           being this line and NAME
 *
 * The record is a msgpack map {p: [{n: key, v: value}, …]}. Blocking; any thread.
 */
#include <stdint.h>

#include "common/secret_map.h"
#include "coordinator/secrets/key.h"

#define SECRET_FILE_MAX ((size_t)256 * 1024)

enum secret_form { /* the stronger the later */
                   SECRET_FORM_PLAIN,
                   SECRET_FORM_CREDS,
                   SECRET_FORM_KEY,
};

/* What there is to encrypt and decrypt with. */
struct secret_means {
    const struct secrets_key *key; /* NULL = none */
    const char *program;           /* systemd-creds; NULL = none */
    int64_t until_us;              /* when a call of it must be over, clock_mono_us */
};

/* Appends the file's bytes. The means for `form` must be there. */
int secret_file_encode(const char *name, const struct secret_map *map, enum secret_form form,
                       const struct secret_means *means, struct buf *out,
                       struct tm_err *err) TM_WUR;
/* *ret_form is set as soon as it is known, also when opening it then fails. Errors speak of the file
 * as "it". */
int secret_file_decode(const char *name, struct slice in, const struct secret_means *means,
                       enum secret_form *ret_form, struct secret_map *ret,
                       struct tm_err *err) TM_WUR;

#endif
