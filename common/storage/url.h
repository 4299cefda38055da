#ifndef TM_COMMON_STORAGE_URL_H
#define TM_COMMON_STORAGE_URL_H
/*
 * Storage URLs: scheme://host/path?key=value&…, percent-decoded. A URL never carries a secret:
 * user:password@ is refused. Fixed memory, nothing to release.
 */
#include "common/err.h"
#include "common/storage/storage.h"

#define STORAGE_URL_PARAMS_MAX 16

struct storage_url {
    char scheme[16];
    char host[256];             /* bucket or container; empty for file:///path */
    char path[STORAGE_URL_MAX]; /* decoded; file: absolute; others: as written, with its leading
                                   slash */
    size_t param_count;
    struct {
        char key[64];
        char value[256];
    } params[STORAGE_URL_PARAMS_MAX];
};

int storage_url_parse(const char *text, struct storage_url *ret, struct tm_err *err) TM_WUR;
/* NULL when there is none. */
const char *storage_url_param(const struct storage_url *url, const char *key);

/* The refusal of a parameter that carries a user name or password: the value is not quoted. */
int storage_url_has_user(const char *key, struct tm_err *err);

#endif
