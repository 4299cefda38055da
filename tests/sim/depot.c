/* What lies in storage: for each backup its data objects and perhaps a manifest. */
#include "tests/sim/sim.h"

#include <stdio.h>

struct sim_backup *depot_find(struct world *w, const char *id, bool make)
{
    for (size_t at = 0; at < w->backup_count; at++) {
        if (strcmp(w->backups[at].id, id) == 0)
            return &w->backups[at];
    }
    if (!make)
        return NULL;
    if (w->backup_count == SIM_BACKUPS_MAX)
        sim_die("too many backups", NULL);
    struct sim_backup *backup = &w->backups[w->backup_count++];
    (void)snprintf(backup->id, sizeof(backup->id), "%s", id);
    return backup;
}

const struct sim_object *depot_object(const struct sim_backup *backup, uint32_t range,
                                      uint64_t term, uint64_t counter)
{
    for (size_t at = 0; at < backup->object_count; at++) {
        const struct sim_object *object = &backup->objects[at];
        if (object->range == range && object->term == term && object->counter == counter)
            return object;
    }
    return NULL;
}

void depot_put(struct world *w, struct sim_backup *backup, const struct sim_object *object)
{
    const struct sim_object *there =
        depot_object(backup, object->range, object->term, object->counter);
    if (there != NULL) {
        if (there->start != object->start || there->end != object->end)
            sim_violate(w, "object %u-%llu.%llu of %s stored twice with different contents",
                        object->range, (unsigned long long)object->term,
                        (unsigned long long)object->counter, backup->id);
        return;
    }
    if (backup->object_count == backup->object_cap) {
        backup->object_cap = backup->object_cap == 0 ? 64 : backup->object_cap * 2;
        backup->objects = realloc(backup->objects, backup->object_cap * sizeof(*backup->objects));
        if (backup->objects == NULL)
            sim_die("depot", NULL);
    }
    backup->objects[backup->object_count++] = *object;
}

void depot_done(struct sim_backup *backup, const struct sim_object *object)
{
    for (size_t at = 0; at < backup->done_count; at++) {
        if (backup->done[at].range == object->range) {
            backup->done[at] = *object;
            return;
        }
    }
    if (backup->done_count < TM_ARRAY_LEN(backup->done))
        backup->done[backup->done_count++] = *object;
}

void depot_sweep(struct sim_backup *backup)
{
    backup->checkpoint = false;
    backup->done_count = 0;
    backup->object_count = 0;
    backup->manifest = false;
    backup->entry_count = 0;
}
