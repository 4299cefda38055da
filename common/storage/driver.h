#ifndef TM_COMMON_STORAGE_DRIVER_H
#define TM_COMMON_STORAGE_DRIVER_H
/*
 * How storage_open reaches the drivers, each opened from a parsed URL. For storage.c and the
 * drivers only; everybody else uses storage.h.
 */
#include "common/storage/storage.h"
#include "common/storage/url.h"

int posix_open(const struct storage_url *url, const struct storage_options *options,
               struct storage **ret, struct tm_err *err) TM_WUR;
int s3_open(const struct storage_url *url, const struct storage_options *options,
            struct storage **ret, struct tm_err *err) TM_WUR;
int azblob_open(const struct storage_url *url, const struct storage_options *options,
                struct storage **ret, struct tm_err *err) TM_WUR;
int ram_open_url(const struct storage_url *url, struct storage **ret, struct tm_err *err) TM_WUR;

#endif
