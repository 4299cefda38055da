#ifndef TM_COORDINATOR_SECRETS_SEAL_H
#define TM_COORDINATOR_SECRETS_SEAL_H
/*
 * Encrypting bytes with systemd-creds, which holds the host's key (and its TPM's, where there is
 * one). The bytes pass through pipes, never through argv, the environment or a file.
 *
 *     seal_check(program, until_us, err)           once: whether it works here, for this user
 *     seal_close(program, name, in, until_us, &out, err)   `in` encrypted; text
 *     seal_open(program, name, in, until_us, &out, err)    and back; `out` should be BUF_SECRET_INIT
 *
 * What was encrypted under one name is refused under another. Blocks, until `until_us`
 * (clock_mono_us) and a second more at most, whatever the program does: what hangs is killed, and
 * TM_E_TIMEOUT. Any thread. Errors carry the program's last line on stderr, which never holds what it
 * was given.
 */
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

#define SEAL_PROGRAM    "/usr/bin/systemd-creds"
#define SEAL_TIMEOUT_MS 30000 /* what callers give it by default */
#define SEAL_IN_MAX     ((size_t)48 * 1024)
#define SEAL_OUT_MAX    ((size_t)256 * 1024)

int seal_check(const char *program, int64_t until_us, struct tm_err *err) TM_WUR;
int seal_close(const char *program, const char *name, struct slice in, int64_t until_us,
               struct buf *out, struct tm_err *err) TM_WUR;
int seal_open(const char *program, const char *name, struct slice in, int64_t until_us,
              struct buf *out, struct tm_err *err) TM_WUR;

#endif
