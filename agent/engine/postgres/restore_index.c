/*
 * What replay of a chunk would do to this host, told by the chunk's index instead of its bytes: the
 * same refusals as when every record is read (restore_log.c).
 *
 * Happy path: section 256 says that all was understood, and which relations are unlogged → limits
 * from 257 → tablespaces from 258, of records from `start` on, before `until`, and not behind the
 * record to stop at.
 *
 * Failure modes: a refusal. An index that is incomplete, does not know a record's beginning, has
 * dropped items, or cannot be read says too little: then the bytes must be read, and what was noted
 * from it is found there again.
 */
#include "agent/engine/postgres/block_refs.h"
#include "agent/engine/postgres/restore_internal.h"
#include "agent/engine/postgres/wal_sections.h"

/* The piece of log that a chunk adds. */
struct piece {
    struct engine_restore *restore;
    const struct engine_sections *sections;
    uint32_t timeline;
    uint64_t start;
    uint64_t until;
};

static bool is_replayed(const struct piece *p, uint64_t record)
{
    return record >= p->start && record < p->until &&
           replay_reaches(p->restore, p->timeline, record);
}

static int get(const struct piece *p, uint16_t id, struct slice *ret, struct tm_err *err)
{
    return p->sections->get(p->sections->arg, id, ret, err);
}

/* 1 = all records that ended in it were seen and understood. A fork that was made has a limit of 0; where
 * in the piece that was is not said, and does not matter (restore_unlogged.c). */
static int read_forks(const struct piece *p, struct tm_err *err)
{
    struct block_refs_reader reader;
    struct block_refs_fork fork;
    struct slice section;
    int rc = get(p, WAL_SECTION_BLOCKS, &section, err);
    if (rc <= 0)
        return rc < 0 ? rc : 1;
    rc = block_refs_reader_init(&reader, section, err);
    if (rc < 0 || (reader.flags & (BLOCK_REFS_INCOMPLETE | BLOCK_REFS_HEADLESS)) != 0)
        return rc;
    while ((rc = block_refs_reader_fork(&reader, &fork, err)) == 1) {
        rc = fork.has_limit ? unlogged_note(p->restore, &fork.fork, err) : 0;
        if (rc < 0)
            return rc;
    }
    return rc < 0 ? rc : 1;
}

static int read_settings(const struct piece *p, struct tm_err *err)
{
    struct wal_items_reader reader;
    struct wal_setting setting;
    struct slice section;
    int rc = get(p, WAL_SECTION_SETTINGS, &section, err);
    if (rc <= 0)
        return rc < 0 ? rc : 1;
    rc = wal_items_reader_init(&reader, section, err);
    while (rc == 0 && (rc = wal_items_next_setting(&reader, &setting, err)) == 1) {
        rc = 0;
        if (setting.kind == WAL_SETTING_PARAMETERS && is_replayed(p, setting.at))
            replay_parameters(p->restore, &setting.parameters);
    }
    return rc < 0 ? rc : !reader.short_of;
}

/* What it refuses goes to *refused: an error of its own would look like an unreadable section's. */
static int read_spaces(const struct piece *p, int *refused, struct tm_err *err)
{
    struct wal_items_reader reader;
    struct wal_space space;
    struct slice section;
    int rc = get(p, WAL_SECTION_SPACES, &section, err);
    if (rc <= 0)
        return rc < 0 ? rc : 1;
    rc = wal_items_reader_init(&reader, section, err);
    while (rc == 0 && (rc = wal_items_next_space(&reader, &space, err)) == 1) {
        struct wal_tablespace_create create = {.oid = space.tablespace};
        rc = 0;
        if (space.kind != WAL_SPACE_TABLESPACE_CREATE || !is_replayed(p, space.at))
            continue;
        memcpy(create.path, space.path, sizeof(create.path));
        if ((*refused = replay_tablespace(p->restore, &create, err)) < 0)
            return *refused;
    }
    return rc < 0 ? rc : !reader.short_of;
}

int pg_restore_check_index(struct engine_restore *r, const char *lineage_label, uint64_t start,
                           uint64_t until, const struct engine_sections *sections, bool *ret_known,
                           struct tm_err *err)
{
    struct piece p = {.restore = r, .sections = sections, .start = start, .until = until};
    int refused = 0;
    int rc = restore_timeline(lineage_label, &p.timeline, err);
    if (rc < 0)
        return tm_err_prefix(err, "checking the stored log");
    rc = read_forks(&p, err);
    if (rc == 1)
        rc = read_settings(&p, err);
    if (rc == 1)
        rc = read_spaces(&p, &refused, err);
    if (refused < 0 || (rc < 0 && rc != -TM_E_CORRUPT))
        return tm_err_prefix(err, "checking the stored log");
    *ret_known = rc == 1;
    return 0;
}
