#ifndef TM_COMMON_STORAGE_OBJECT_STORE_H
#define TM_COMMON_STORAGE_OBJECT_STORE_H
/*
 * What every driver of an object store does alike around its calls: opening and closing a struct
 * store, statistics, the name that people see, and fetches. For those drivers only (s3/, azblob/).
 */
#include "common/storage/call.h"

/* What its URL says of the way to the store; borrowed for the call. */
struct object_store_way {
    const char *ca_file, *proxy; /* NULL = the system's */
    bool insecure;
};

/* Makes the HTTP client and the deadline; the driver fills in ops, owner and place. Nothing is sent. */
int object_store_open(struct store *store, const struct object_store_way *way,
                      const struct storage_options *options, struct tm_err *err) TM_WUR;
/* Also of one that was not opened, or is zeroed. */
void object_store_close(struct store *store);

void object_store_stats(struct store *store, struct storage_stats *ret);

/* scheme://bucket/prefix, and "?endpoint=…" when `endpoint` is not "". */
void object_store_display(struct storage *st, const char *scheme, const char *bucket,
                          const char *prefix, const char *endpoint);

/* ---- fetches ---- */

/* How a driver reads a range. Its struct of a call begins with its struct store_call. */
struct object_fetch_ops {
    size_t call_bytes;
    void (*init)(struct store_call *c, struct storage *st, const char *name, uint64_t offset,
                 void *dst, size_t len);
    /* What a call's result is to who reads: 0 and the object's size. */
    int (*judge)(const struct store_call *c, const char *name, int result,
                 uint64_t *ret_object_bytes, struct tm_err *err);
    void (*release)(struct store_call *c);
};

/* storage_ops.fetch */
int object_store_fetch(const struct object_fetch_ops *ops, struct storage *st, const char *name,
                       uint64_t offset, void *dst, size_t len, struct storage_fetch **ret,
                       struct tm_err *err) TM_WUR;

#endif
