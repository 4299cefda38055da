/*
 * Where a target stops on one candidate's path. Happy path: a time is the record before the first
 * commit above it, or the last record when a mark proves the time; a position asks the engine for
 * the record; a transaction or name is found among the events. Failure modes: a path that does not
 * prove the target does not have it: the next candidate is asked.
 */
#include "common/clock.h"
#include "proto/repo/target_internal.h"

#define NAMES_SHOWN 8

int64_t target_end_us(const struct planner *p)
{
    int64_t us = p->backup->point.to_us;
    for (size_t i = 0; i < p->path.count; i++)
        us = TM_MAX(us, p->path.legs[i].end_us);
    return us;
}

static int stop_immediate(struct planner *p)
{
    p->immediate = true;
    p->stop_leg = 0;
    p->stop_record = 0;
    p->log_to = p->backup->at;
    return 1;
}

/* Behind a record on a leg; one before consistent_at is not waited for. */
static int stop_behind(struct planner *p, size_t leg, uint64_t record, uint64_t end)
{
    /* the record before a child's first one lies on the parent */
    while (leg > 0 && record < p->path.legs[leg].from) {
        leg--;
        end = TM_MIN(end, p->path.legs[leg].to);
    }
    if (record < p->backup->at)
        return stop_immediate(p);
    p->immediate = false;
    p->stop_leg = leg;
    p->stop_record = record;
    p->log_to = end;
    return 1;
}

/* Behind the last whole record of the path. */
static int stop_latest(struct planner *p, struct tm_err *err)
{
    uint64_t record = 0;
    uint64_t end = 0;
    for (size_t leg = p->path.count; leg-- > 0 && record == 0;) {
        int r = path_last_record(p, leg, p->path.legs[leg].to, true, &record, &end, err);
        if (r < 0)
            return r;
        if (record != 0)
            return stop_behind(p, leg, record, end);
    }
    return stop_immediate(p);
}

/* ---- time ---- */

struct time_search {
    int64_t above_us;
    size_t leg;
    struct log_point event;
};

static bool time_wanted(void *arg, const struct log_entry *entry)
{
    const struct time_search *s = arg;
    return entry->max_us != 0 && entry->max_us > s->above_us;
}

static int time_event(void *arg, size_t leg, const struct log_point *event, struct tm_err *err)
{
    struct time_search *s = arg;
    (void)err;
    if ((event->kind != EVENT_COMMIT && event->kind != EVENT_ABORT) ||
        event->time_us <= s->above_us)
        return 0;
    s->leg = leg;
    s->event = *event;
    return 1;
}

static int resolve_time(struct planner *p, struct tm_err *err)
{
    const struct target *t = p->target;
    struct time_search s = {.above_us = t->exclusive ? t->time_us - 1 : t->time_us};
    struct path_scan scan = {
        .wanted = time_wanted, .event = time_event, .arg = &s, .until = UINT64_MAX};
    if (t->time_us < (p->path.count > 0 ? p->backup->settled_us : p->backup->point.from_us))
        return 0;
    int r = path_scan(p, &scan, err);
    if (r > 0)
        return stop_behind(p, s.leg, s.event.previous, s.event.at);
    if (r < 0 || t->time_us > target_end_us(p))
        return r;
    return stop_latest(p, err);
}

int target_own_moment(struct planner *p)
{
    return p->target->time_us == p->backup->point.from_us ? stop_immediate(p) : 0;
}

/* ---- position ---- */

static int resolve_position(struct planner *p, struct tm_err *err)
{
    uint64_t at = 0;
    uint64_t record = 0;
    uint64_t end = 0;
    int r = p->engine->positions.parse(p->target->text, &at, err);
    if (r < 0)
        return r;
    if (p->path.count == 0)
        return at == p->backup->at ? stop_immediate(p) : 0;
    if (at < p->backup->at || at > p->path.legs[p->path.count - 1].to)
        return 0;
    size_t leg = 0;
    while (leg + 1 < p->path.count && at >= p->path.legs[leg].to)
        leg++;
    r = path_last_record(p, leg, at, p->target->exclusive, &record, &end, err);
    return r < 0 ? r : stop_behind(p, leg, record, end);
}

/* ---- transactions and names ---- */

struct event_search {
    const struct planner *p;
    size_t backup; /* index of the one that is looked at */
    size_t found_backup;
    size_t leg;
    struct log_point event;
    uint32_t count;
    char shown[400]; /* times and positions of all of one name */
};

static bool event_wanted(void *arg, const struct log_entry *entry)
{
    (void)arg;
    return entry->events != 0;
}

static bool event_is(const struct target *t, const struct log_point *event)
{
    if (t->kind == TARGET_XID)
        return event->xid == t->xid && (event->kind == EVENT_COMMIT || event->kind == EVENT_ABORT);
    return event->kind == EVENT_POINT && strcmp(event->name, t->text) == 0;
}

static int event_found(void *arg, size_t leg, const struct log_point *event, struct tm_err *err)
{
    struct event_search *s = arg;
    char time[CLOCK_TEXT_MAX];
    char position[FORMAT_POSITION_MAX];
    (void)err;
    if (!event_is(s->p->target, event))
        return 0;
    s->found_backup = s->backup;
    s->leg = leg;
    s->event = *event;
    if (++s->count <= NAMES_SHOWN) {
        size_t used = strlen(s->shown);
        s->p->engine->positions.text(event->at, position);
        (void)snprintf(s->shown + used, sizeof(s->shown) - used, "%s%s at %s", used > 0 ? ", " : "",
                       clock_format(event->time_us, time), position);
    }
    return s->p->target->kind == TARGET_XID; /* there is only one of a transaction */
}

/* From the newest backup on; of an older one only what lies before the newer ones. */
static int event_search(struct planner *p, const char *backup_id, struct event_search *s,
                        struct tm_err *err)
{
    struct path_scan scan = {
        .wanted = event_wanted, .event = event_found, .arg = s, .until = UINT64_MAX};
    for (size_t i = p->world.backup_count; i-- > 0;) {
        const struct log_backup *b = &p->world.backups[i];
        if (backup_id != NULL && strcmp(backup_id, b->point.backup_id) != 0)
            continue;
        int r = target_candidate(p, b, backup_id != NULL, err);
        s->backup = i;
        if (r > 0)
            r = path_scan(p, &scan, err);
        if (r != 0)
            return r < 0 ? r : 0;
        if (p->path.count > 0)
            scan.until = TM_MIN(scan.until, b->at);
    }
    return 0;
}

int target_resolve_event(struct planner *p, const char *backup_id, struct tm_err *err)
{
    struct event_search s = {.p = p};
    int r = event_search(p, backup_id, &s, err);
    if (r < 0 || s.count == 0)
        return r;
    if (s.count > 1)
        return tm_err_set(err, TM_E_REFUSED,
                          "the name '%s' is there %u times: %s%s; give one's time or position",
                          p->target->text, s.count, s.shown, s.count > NAMES_SHOWN ? " …" : "");
    r = target_candidate(p, &p->world.backups[s.found_backup], backup_id != NULL, err);
    if (r <= 0)
        return r;
    return p->target->exclusive ? stop_behind(p, s.leg, s.event.previous, s.event.at)
                                : stop_behind(p, s.leg, s.event.at, s.event.end);
}

/* ---- all of them ---- */

int target_resolve(struct planner *p, struct tm_err *err)
{
    switch (p->target->kind) {
    case TARGET_IMMEDIATE:
        return stop_immediate(p);
    case TARGET_LATEST:
        return stop_latest(p, err);
    case TARGET_TIME:
        return resolve_time(p, err);
    case TARGET_POSITION:
        return resolve_position(p, err);
    case TARGET_XID:
    case TARGET_NAME:
        break; /* target_resolve_event */
    }
    return 0;
}

/* ---- the time of the stop ---- */

struct newest_search {
    uint64_t stop_record;
    int64_t us;
};

/* An entry that ends before the stop is added up; only the one that holds the stop is opened. */
static bool newest_wanted(void *arg, const struct log_entry *entry)
{
    struct newest_search *s = arg;
    if (entry->max_us <= s->us)
        return false;
    if (entry->to <= s->stop_record) {
        s->us = entry->max_us;
        return false;
    }
    return true;
}

static int newest_event(void *arg, size_t leg, const struct log_point *event, struct tm_err *err)
{
    struct newest_search *s = arg;
    (void)leg;
    (void)err;
    if ((event->kind == EVENT_COMMIT || event->kind == EVENT_ABORT) && event->time_us > s->us)
        s->us = event->time_us;
    return 0;
}

int target_stop_time(struct planner *p, struct tm_err *err)
{
    struct newest_search s = {.stop_record = p->stop_record, .us = p->backup->point.from_us};
    struct path_scan scan = {
        .wanted = newest_wanted, .event = newest_event, .arg = &s, .until = p->stop_record + 1};
    int r = p->immediate ? 0 : path_scan(p, &scan, err);
    if (r == 0)
        p->stop_us = s.us;
    return r;
}
