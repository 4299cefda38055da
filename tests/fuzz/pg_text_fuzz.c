/*
 * The small texts of a PostgreSQL backup: byte 0 picks backup_label, tablespace_map or a
 * configuration file, the rest is the text.
 */
#include "agent/engine/postgres/label.h"
#include "agent/engine/postgres/recovery_conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_link(void *arg, const struct tablespace_link *link, struct tm_err *err)
{
    (void)arg;
    (void)err;
    if (link->path[0] != '/' || link->oid == 0)
        __builtin_trap();
    return 0;
}

/* What was read can be written and reads the same again. */
static int on_line(void *arg, const struct conf_line *line, struct tm_err *err)
{
    char value[CONF_VALUE_MAX];
    struct buf *out = arg;
    if (line->name[0] == '\0')
        return 0;
    buf_reset(out);
    if (conf_append(out, line->name, line->value, err) < 0)
        return 0;
    if (!conf_find(buf_slice(out), line->name, value, sizeof(value)) ||
        strcmp(value, line->value) != 0)
        __builtin_trap();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct label label;
    struct tm_err err;
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    if (size < 1)
        return 0;
    struct slice text = slice_of(data + 1, size - 1);
    switch (data[0] % 3) {
    case 0:
        (void)!label_parse(text, &label, &err);
        break;
    case 1:
        (void)!tablespace_map_parse(text, on_link, NULL, &err);
        break;
    default:
        (void)!conf_scan(text, on_line, &out, &err);
        buf_reset(&out);
        (void)!conf_block_remove(text, "recovery", &out, &err);
        if (out.len > text.len)
            __builtin_trap();
    }
    return 0;
}
