#ifndef TM_TESTS_UNIT_COORDINATOR_BRAIN_REBUILD_STAGE_H
#define TM_TESTS_UNIT_COORDINATOR_BRAIN_REBUILD_STAGE_H
/* What agents keep in storage for a brain on the stage, and read back; a state that is lost. To be included
 * behind the stage itself; STAGE_HEAR: a heartbeat of what is on a connection, when that is not "main". */
#ifndef STAGE_HEAR
#define STAGE_HEAR(s, conn) beat(s, conn, INSTANCE_PRIMARY, 0, NULL)
#endif

static TM_UNUSED void answers(struct stage *s, uint64_t conn, const struct msg_probe_answer *answer)
{
    struct message m = {.type = MESSAGE_heartbeat};
    struct msg_probe_answer told = *answer;
    m.heartbeat.probes = &told;
    m.heartbeat.probes_count = 1;
    ask(s, conn, &m);
}

static TM_UNUSED size_t asked_count(struct stage *s, uint64_t conn)
{
    STAGE_HEAR(s, conn);
    assert_int_equal(s->reply.type, MESSAGE_desired);
    return s->reply.desired.probes_count;
}

/* The first thing that the node is asked to do in storage now. */
static TM_UNUSED const struct msg_probe *asked(struct stage *s, uint64_t conn)
{
    assert_true(asked_count(s, conn) > 0);
    return &s->reply.desired.probes[0];
}

static TM_UNUSED void cmd_with(struct stage *s, enum brain_command what, const char *yaml,
                               bool force)
{
    struct tm_err err = {0};
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    struct brain_event event = {.kind = BRAIN_EV_COMMAND};
    event.command.cmd = 9;
    event.command.what = what;
    event.command.force = force;
    if (yaml != NULL && resource_parse("test", slice_str(yaml), &list, &err) < 0)
        fail_msg("%s", err.msg);
    if (yaml != NULL)
        event.command.resource = TM_TAKE(list.items[0]);
    s->answers = 0;
    s->rebuilt[0] = '\0';
    feed(s, &event);
}

static TM_UNUSED void cmd(struct stage *s, enum brain_command what, const char *yaml)
{
    cmd_with(s, what, yaml, s->force);
}

#define PATTERN_AT(path)                                                                           \
    "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: rebuild}\nspec:\n"                    \
    "  br: {cluster: x}\n  local: {path: " path "}\n"
#define PATTERN PATTERN_AT("/backup")

/* A new life of the brain; with records, or without any. */
static TM_UNUSED void live_again(struct stage *s, uint64_t term, bool lost)
{
    brain_free(s->brain);
    for (size_t at = 0; lost && at < s->record_count; at++) {
        buf_release(&s->records[at]);
        s->records[at] = BUF_INIT;
    }
    s->record_count = lost ? 0 : s->record_count;
    s->revision = lost ? 0 : s->revision;
    start(s, term);
}

static TM_UNUSED void raised(struct stage *s)
{
    struct brain_event event = {.kind = BRAIN_EV_TERM};
    event.term.term = s->raise_to;
    feed(s, &event);
}

/* The words that are to be kept of the stage's backup, copied. */
static TM_UNUSED struct msg_intent words_of(struct stage *s, struct codec_arena *arena)
{
    struct msg_intent words;
    struct tm_err err;
    const struct msg_probe *probe = asked(s, 10);
    assert_non_null(probe->keep);
    assert_int_equal(codec_copy(&msg_intent_codec, probe->keep, arena, &words, &err), 0);
    return words;
}

static TM_UNUSED void kept(struct stage *s, uint64_t conn)
{
    const struct msg_probe *probe = asked(s, conn);
    answers(s, conn, &(struct msg_probe_answer){.id = probe->id, .kept = true});
}

static TM_UNUSED size_t waiting(const struct stage *s)
{
    size_t count = 0;
    for (size_t at = 0; at < s->record_count; at++)
        count += strncmp((const char *)s->records[at].data, "intent/", 7) == 0;
    return count;
}

/* Reads once: what the pattern's storage holds, as items. */
static TM_UNUSED void read_items_at(struct stage *s, uint64_t conn, const char *pattern,
                                    const char *storage, struct msg_stored *items, size_t count)
{
    struct msg_page page = {.items = items, .items_count = count, .term = 3};
    cmd(s, BRAIN_CMD_REBUILD, pattern);
    assert_int_equal(s->answers, 0);
    const struct msg_probe *probe = asked(s, conn);
    while (probe->read == NULL) /* behind what is to be kept */
        probe++;
    assert_string_equal(probe->storage, storage);
    answers(s, conn, &(struct msg_probe_answer){.id = probe->id, .page = &page});
    for (int turns = 0; turns < 8 && s->answers == 0; turns++)
        tick(s, SEC(1));
    assert_int_equal(s->answers, 1);
    assert_int_equal(s->answer.code, TM_E_OK);
}

static TM_UNUSED void read_items(struct stage *s, uint64_t conn, struct msg_stored *items,
                                 size_t count)
{
    read_items_at(s, conn, PATTERN, "file:///backup", items, count);
}

static TM_UNUSED struct msg_stored item_of(const char *backup_id, enum stored_state state)
{
    struct msg_stored item = {.cluster = "demo1",
                              .tenant = "main",
                              .incarnation = "7000",
                              .state = state,
                              .started_us = 1763720000000000,
                              .completed_us = 1763720300000000,
                              .ranges = 5};
    (void)snprintf(item.backup_id, sizeof(item.backup_id), "%s", backup_id);
    return item;
}

#endif
