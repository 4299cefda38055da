/* The ram driver's dice: a hash of seed, call number and purpose, so that a run can be repeated. */
#include "common/storage/ram_fault.h"

#include <stdio.h>

/* splitmix64 */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

bool ram_chance(uint64_t seed, uint64_t call, uint64_t purpose, uint32_t per_mille)
{
    return per_mille != 0 && mix(seed ^ mix(call * 8 + purpose)) % 1000 < per_mille;
}

int ram_injected(enum tm_err_code code, const char *format, const char *name, struct tm_err *err)
{
    char text[STORAGE_NAME_MAX + 64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(text, sizeof(text), format, name);
#pragma GCC diagnostic pop
    if (code == TM_E_NO_SPACE)
        return tm_err_errno(err, ENOSPC, "%s", text);
    if (code == TM_E_UNAVAILABLE || code == TM_E_TIMEOUT)
        return tm_err_retry(err, code, "%s: the store does not answer", text);
    return tm_err_set(err, code, "%s: injected fault", text);
}
