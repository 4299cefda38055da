#ifndef TM_COMMON_STORAGE_RAM_H
#define TM_COMMON_STORAGE_RAM_H
/*
 * In-process storage: ram://<name>. It ships with the product and is the test double.
 *
 * Stores live in a struct ram_registry: all `ram_open`s of one name in one registry see the same
 * objects, also after every handle was freed (a process that restarts finds its storage again).
 * storage_open("ram://…") uses a registry of the process, whose stores are freed by
 * ram_process_registry_free (tests under ASan).
 *
 * Faults are decided by counters and a seed only: the same calls meet the same faults. The clock is
 * the store's own: it moves by 1 s with each call of create or commit.
 * Thread safe; a simulation uses it from one thread.
 */
#include "common/storage/storage.h"

enum ram_op {
    RAM_CREATE,
    RAM_WRITE,
    RAM_COMMIT,
    RAM_READ,
    RAM_STAT,
    RAM_LIST,
    RAM_REMOVE,
    RAM_OPS
};

/* All zero = a perfect store. Chances are per 1000 calls. */
struct ram_faults {
    uint64_t seed;
    uint32_t fail_per_mille;       /* any call fails before its effect (retryable UNAVAILABLE) */
    uint32_t drop_reply_per_mille; /* commit and remove take effect, then report UNAVAILABLE */
    uint32_t late_per_mille; /* a committed object appears in lists only late_ops calls later */
    uint32_t late_ops;
    bool no_conditional_create; /* commit silently keeps the first object of a name */
    uint64_t capacity_bytes;    /* 0 = endless; else commit and write give NO_SPACE above */
    uint64_t fail_op[RAM_OPS];  /* the Nth call (1 = first) of this kind fails; 0 = none */
    enum tm_err_code fail_code; /* of fail_op; 0 = TM_E_IO */
    bool hang;                  /* any call waits until the faults are set anew */
};

struct ram_registry;
struct ram_registry *ram_registry_new(void); /* NULL: out of memory */
void ram_registry_free(struct ram_registry *registry);
TM_DEFINE_FREEP(struct ram_registry, ram_registry_free)
void ram_process_registry_free(void);

int ram_open(struct ram_registry *registry, const char *name, struct storage **ret,
             struct tm_err *err) TM_WUR;
/* The rest take a storage made by ram_open or storage_open("ram://…"). */
bool storage_is_ram(const struct storage *st);
void ram_set_faults(struct storage *st, const struct ram_faults *faults); /* counters start anew */
uint64_t ram_op_count(struct storage *st, enum ram_op op);
/* Direct access for tests: the stored bytes, which may be changed in place; NULL when absent. */
uint8_t *ram_bytes(struct storage *st, const char *name, size_t *ret_len);
/* Puts bytes there whatever was there before. */
int ram_replace(struct storage *st, const char *name, struct slice bytes,
                struct tm_err *err) TM_WUR;
size_t ram_object_count(struct storage *st);

#endif
