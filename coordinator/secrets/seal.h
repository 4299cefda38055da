#ifndef TM_COORDINATOR_SECRETS_SEAL_H
#define TM_COORDINATOR_SECRETS_SEAL_H
/*
 * Encrypting bytes with systemd-creds, which holds the host's key (and its TPM's, where there is
 * one). The bytes pass through pipes, never through argv, the environment or a file.
 *
 *     seal_check(program, err)                 once: whether it works here, for this user
 *     seal_close(program, name, in, &out, err)     `in` encrypted; text
 *     seal_open(program, name, in, &out, err)      and back; `out` should be BUF_SECRET_INIT
 *
 * What was encrypted under one name is refused under another. Blocks, SEAL_TIMEOUT_MS at most; any
 * thread. Errors carry the program's first line on stderr, which never holds what it was given.
 */
#include "common/buf.h"
#include "common/err.h"

#define SEAL_PROGRAM    "/usr/bin/systemd-creds"
#define SEAL_TIMEOUT_MS 20000
#define SEAL_IN_MAX     ((size_t)48 * 1024)
#define SEAL_OUT_MAX    ((size_t)256 * 1024)

int seal_check(const char *program, struct tm_err *err) TM_WUR;
int seal_close(const char *program, const char *name, struct slice in, struct buf *out,
               struct tm_err *err) TM_WUR;
int seal_open(const char *program, const char *name, struct slice in, struct buf *out,
              struct tm_err *err) TM_WUR;

#endif
