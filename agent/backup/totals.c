/* What a committed backup is, as its manifest says it: for whoever committed it, and for who finds it. */
#include "agent/backup/internal.h"

void backup_totals_problem(struct backup_totals *t, const struct problem *problem)
{
    if (t->problem_count < BACKUP_TOTALS_PROBLEMS)
        t->problems[t->problem_count++] = *problem;
}

void backup_totals_manifest(const struct manifest *m, struct backup_totals *ret)
{
    ret->commit_us = m->commit_us;
    ret->completed_us = m->completed_us;
    if (m->consistent_at)
        (void)snprintf(ret->position, sizeof(ret->position), "%s", m->consistent_at->text);
    (void)snprintf(ret->lineage_label, sizeof(ret->lineage_label), "%s", m->lineage_label);
}

int backup_totals_read(struct manifest_reader *mr, struct backup_totals *ret, struct tm_err *err)
{
    const struct manifest *m = &mr->root;
    struct manifest_item item;
    int r = 1;
    *ret = (struct backup_totals){.ranges = m->ranges,
                                  .files = m->files,
                                  .raw_bytes = m->raw_bytes,
                                  .stored_bytes = m->stored_bytes,
                                  .log_bytes = m->log_bytes,
                                  .pages_checked = m->pages_checked,
                                  .pages_unverified = m->pages_unverified,
                                  .pages_corrupt = m->pages_corrupt};
    backup_totals_manifest(m, ret);
    while (m->problems > 0 && r == 1 && (r = manifest_reader_next(mr, &item, err)) == 1) {
        if (item.kind == MANIFEST_PROBLEM)
            backup_totals_problem(ret, &item.problem);
    }
    return r < 0 ? r : 0;
}

void backup_totals_message(const struct backup_totals *totals, const struct storage *st,
                           const struct repo_scope *scope, const char *backup_id,
                           struct backup_totals_text *text, struct msg_totals *ret)
{
    struct full_name prefix = names_backup_prefix(scope, backup_id);
    /* how the store is reached stands behind the place */
    (void)snprintf(text->path, sizeof(text->path), "%.*s/%.*s", (int)strcspn(st->display, "?"),
                   st->display, (int)strlen(prefix.s) - 1, prefix.s);
    text->path[WIRE_URL_MAX] = '\0';
    text->counters = (struct msg_counters){.files = totals->files,
                                           .bytes = totals->raw_bytes,
                                           .stored_bytes = totals->stored_bytes,
                                           .pages_checked = totals->pages_checked,
                                           .pages_unverified = totals->pages_unverified,
                                           .pages_corrupt = totals->pages_corrupt};
    for (uint32_t i = 0; i < totals->problem_count; i++)
        text->problems[i] = (struct msg_problem){.path = totals->problems[i].path,
                                                 .block = totals->problems[i].block,
                                                 .what = totals->problems[i].what};
    *ret = (struct msg_totals){.counters = &text->counters,
                               .log_bytes = totals->log_bytes,
                               .commit_us = totals->commit_us,
                               .completed_us = totals->completed_us,
                               .path = text->path,
                               .problems = text->problems,
                               .problems_count = totals->problem_count};
    (void)snprintf(ret->position, sizeof(ret->position), "%s", totals->position);
    (void)snprintf(ret->lineage, sizeof(ret->lineage), "%s", totals->lineage_label);
}
