#ifndef TM_COMMON_STORAGE_POSIX_H
#define TM_COMMON_STORAGE_POSIX_H
/*
 * The posix driver's directory walk: a storage_iter over a tree, in byte order of whole names
 * (a directory sorts as its name with '/' behind), one directory's names in memory per level. What
 * vanishes meanwhile is left out. For posix.c only.
 */
#include "common/storage/storage.h"

#define POSIX_WALK_DEPTH_MAX   32
#define POSIX_WALK_ENTRIES_MAX (16u << 20) /* in one directory */

enum posix_walk_what { POSIX_WALK_OBJECTS, POSIX_WALK_TEMPORARY };

/* `root` stays open as long as the iterator lives (it is borrowed); `shown_root` is for messages.
 */
int posix_walk_open(int root, const char *shown_root, const char *prefix, const char *start_after,
                    enum posix_walk_what what, struct storage_iter **ret,
                    struct tm_err *err) TM_WUR;

/* Removes empty directories below `dir`, and `dir` itself when nothing is left in it; best effort.
 * Only ever by rmdir: what gets a file meanwhile stays. */
void posix_prune_tree(int root, const char *dir);

#endif
