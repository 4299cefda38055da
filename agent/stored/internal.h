#ifndef TM_AGENT_STORED_INTERNAL_H
#define TM_AGENT_STORED_INTERNAL_H
/*
 * Inside agent/stored.
 *
 *   keep.c    one resource's intent, put or removed
 *   page.c    from one instance to the next: where a page begins and ends
 *   backup.c  one backup: what is to be told of it
 */
#include "agent/stored/stored.h"
#include "proto/repo/catalog.h"

struct page {
    struct storage *st;
    struct object_scratch *scratch;
    struct codec_arena *arena;
    struct repo_scope scope; /* where it is now */
    struct msg_page *out;
    size_t bytes;
};

/* A zeroed item of the instance that the page is at; NULL when memory is out. */
struct msg_stored *page_item(struct page *p, struct tm_err *err);
void page_term(struct page *p, uint64_t term);

/* One item, or none when nothing but its tombstone is left. */
int page_backup(struct page *p, const char *backup_id, struct tm_err *err) TM_WUR;

#endif
