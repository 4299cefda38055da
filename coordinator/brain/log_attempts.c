/*
 * Attempts of log backups order the writers of one tenant's log: within a term, who has the higher
 * attempt may store (agent/brain/brain.h). A task that takes the place of one that was deleted or
 * stopped therefore begins above it.
 *
 * Remembered in this life only, because the next one has a higher term. Of the tenants whose tasks
 * come and go the LOG_ATTEMPTS_MAX least recently new ones are forgotten first; a task that begins
 * too low then says that it found a newer writer.
 */
#include "coordinator/brain/logs.h"

#include <stdio.h>

static struct log_attempt *find(struct brain *b, const char *cluster, const char *tenant)
{
    size_t known = TM_MIN(b->log_attempt_count, (size_t)LOG_ATTEMPTS_MAX);
    for (size_t at = 0; at < known; at++) {
        struct log_attempt *one = &b->log_attempts[at];
        if (strcmp(one->cluster, cluster) == 0 && strcmp(one->tenant, tenant) == 0)
            return one;
    }
    return NULL;
}

void log_attempt_note(struct brain *b, const struct record *rec)
{
    if (rec->phase == PHASE_SCHEDULED)
        return;
    struct log_attempt *one = find(b, rec->cluster, rec->tenant);
    if (one == NULL) {
        one = &b->log_attempts[b->log_attempt_count++ % LOG_ATTEMPTS_MAX];
        (void)snprintf(one->cluster, sizeof(one->cluster), "%s", rec->cluster);
        (void)snprintf(one->tenant, sizeof(one->tenant), "%s", rec->tenant);
        one->newest = 0;
    }
    one->newest = TM_MAX(one->newest, rec->attempt);
}

uint32_t log_attempt_next(struct brain *b, const struct record *rec)
{
    const struct log_attempt *one = find(b, rec->cluster, rec->tenant);
    return one != NULL ? TM_MAX(one->newest + 1, rec->attempt) : rec->attempt;
}
