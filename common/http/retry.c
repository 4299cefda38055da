/*
 * Exponential waits with jitter. Nothing here can fail.
 */
#include "common/http/retry.h"

#include "common/cleanup.h"

int64_t retry_wait(const struct retry *retry, int64_t after_us, uint64_t random,
                   int64_t now_mono_us)
{
    unsigned attempts_max = retry->attempts_max != 0 ? retry->attempts_max : RETRY_ATTEMPTS_MAX;
    if (retry->attempts >= attempts_max)
        return -1;
    int64_t wait_us = RETRY_FIRST_US;
    for (unsigned n = 1; n < retry->attempts && wait_us < RETRY_CAP_US; n++)
        wait_us *= 2;
    wait_us = TM_MIN(wait_us, RETRY_CAP_US);
    wait_us -= (int64_t)(random % (uint64_t)(wait_us / 2 + 1));
    wait_us = TM_MAX(wait_us, TM_MIN(after_us, RETRY_CAP_US));
    if (retry->deadline_us != INT64_MAX && now_mono_us > retry->deadline_us - wait_us)
        return -1;
    return wait_us;
}

bool retry_status(unsigned status)
{
    return status == 408 || status == 429 || (status >= 500 && status != 501 && status != 505);
}
