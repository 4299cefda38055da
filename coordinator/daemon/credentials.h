#ifndef TM_COORDINATOR_DAEMON_CREDENTIALS_H
#define TM_COORDINATOR_DAEMON_CREDENTIALS_H
/*
 * A desired set in which secrets are names, with what they hold:
 *
 *     credentials_fill(secrets, private_line, &desired, &full, err)
 *     send *credentials_desired(full); credentials_free(full)
 *
 * Secrets of a job's storage, of a restore's other storage, of the places a log task looks into, and of
 * probes. One that is not there, cannot be read, or must not be sent as others could read the line, has the
 * reason in place of pairs. The loop must not run in between: pairs point into the store of secrets, the
 * rest at `desired`.
 */
#include <stdbool.h>

#include "common/err.h"
#include "coordinator/secrets/secrets.h"
#include "proto/wire/messages.h"

struct credentials;

/* *ret is NULL when there is nothing to fill in: `desired` is to be sent as it is. */
int credentials_fill(const struct secrets *secrets, bool private_line,
                     const struct msg_desired *desired, struct credentials **ret,
                     struct tm_err *err) TM_WUR;
const struct msg_desired *credentials_desired(const struct credentials *full);
void credentials_free(struct credentials *full);
TM_DEFINE_FREEP(struct credentials, credentials_free)

#endif
