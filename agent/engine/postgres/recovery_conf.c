/*
 * The reader follows guc-file.l in what it understands: names of letters, digits, '_', '$' and '.',
 * an optional '=', then a quoted string (with doubled quotes and backslash escapes) or one bare
 * word, then at most a comment. What it does not understand it reports with an empty name, so that
 * copying keeps it.
 */
#include "agent/engine/postgres/recovery_conf.h"

#include <ctype.h>
#include <stdio.h>

#define AUTO_CONF "postgresql.auto.conf"

static bool name_char(uint8_t c)
{
    return isalnum(c) || c == '_' || c == '$' || c == '.' || c >= 0x80;
}

static size_t blanks(struct slice s)
{
    size_t n = 0;
    while (n < s.len && (s.data[n] == ' ' || s.data[n] == '\t' || s.data[n] == '\r'))
        n++;
    return n;
}

static void skip(struct slice *s, size_t n)
{
    s->data += n;
    s->len -= n;
}

/* A quoted value; *s starts at the opening quote and ends behind the closing one. */
static bool quoted_value(struct slice *s, char *value)
{
    size_t len = 0;
    size_t at = 1;
    for (; at < s->len; at++) {
        uint8_t c = s->data[at];
        if (c == '\'') {
            if (at + 1 >= s->len || s->data[at + 1] != '\'')
                break;
            at++;
        } else if (c == '\\' && at + 1 < s->len) {
            c = s->data[++at];
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
        }
        if (len + 1 >= CONF_VALUE_MAX)
            return false;
        value[len++] = (char)c;
    }
    if (at >= s->len)
        return false;
    value[len] = '\0';
    skip(s, at + 1);
    return true;
}

static bool bare_value(struct slice *s, char *value)
{
    size_t len = 0;
    while (len < s->len && !isspace(s->data[len]) && s->data[len] != '#' && s->data[len] != '\'')
        len++;
    if (len == 0 || len >= CONF_VALUE_MAX)
        return false;
    memcpy(value, s->data, len);
    value[len] = '\0';
    skip(s, len);
    return true;
}

static void line_parse(struct conf_line *line)
{
    struct slice s = line->text;
    size_t len = 0;
    line->name[0] = '\0';
    line->value[0] = '\0';
    while (s.len > 0 && (s.data[s.len - 1] == '\n' || s.data[s.len - 1] == '\r'))
        s.len--;
    skip(&s, blanks(s));
    while (len < s.len && name_char(s.data[len]))
        len++;
    if (len == 0 || len >= CONF_NAME_MAX || isdigit(s.data[0]))
        return;
    char name[CONF_NAME_MAX];
    for (size_t k = 0; k < len; k++)
        name[k] = (char)tolower(s.data[k]);
    name[len] = '\0';
    skip(&s, len);
    skip(&s, blanks(s));
    if (s.len > 0 && s.data[0] == '=')
        skip(&s, 1);
    skip(&s, blanks(s));
    bool ok = s.len > 0 &&
              (s.data[0] == '\'' ? quoted_value(&s, line->value) : bare_value(&s, line->value));
    skip(&s, blanks(s));
    if (ok && (s.len == 0 || s.data[0] == '#'))
        memcpy(line->name, name, len + 1);
    else
        line->value[0] = '\0';
}

int conf_scan(struct slice file, conf_line_fn fn, void *arg, struct tm_err *err)
{
    struct conf_line line;
    while (file.len > 0) {
        const uint8_t *nl = memchr(file.data, '\n', file.len);
        size_t len = nl != NULL ? (size_t)(nl - file.data) + 1 : file.len;
        line.text = slice_of(file.data, len);
        line_parse(&line);
        int r = fn(arg, &line, err);
        if (r != 0)
            return r;
        skip(&file, len);
    }
    return 0;
}

struct find {
    const char *name;
    char *value;
    size_t size;
    bool found;
};

static int find_line(void *arg, const struct conf_line *line, struct tm_err *err)
{
    struct find *f = arg;
    (void)err;
    if (strcmp(line->name, f->name) == 0 && strlen(line->value) < f->size) {
        memcpy(f->value, line->value, strlen(line->value) + 1);
        f->found = true;
    }
    return 0;
}

bool conf_find(struct slice file, const char *name, char *ret_value, size_t value_size)
{
    char value[CONF_VALUE_MAX];
    struct find f = {.name = name, .value = value, .size = TM_MIN(value_size, sizeof(value))};
    struct tm_err ignored;
    if (conf_scan(file, find_line, &f, &ignored) < 0 || !f.found)
        return false;
    memcpy(ret_value, value, strlen(value) + 1);
    return true;
}

int conf_append(struct buf *out, const char *name, const char *value, struct tm_err *err)
{
    if (name[0] == '\0' || isdigit((unsigned char)name[0]))
        return tm_err_set(err, TM_E_INVALID, "'%.64s' is not the name of a server option", name);
    for (const char *p = name; *p != '\0'; p++) {
        if (!name_char((uint8_t)*p))
            return tm_err_set(err, TM_E_INVALID, "'%.64s' is not the name of a server option",
                              name);
    }
    if (strpbrk(value, "\r\n") != NULL)
        return tm_err_set(err, TM_E_INVALID, "server option '%.64s': the value has a line break",
                          name);
    size_t before = out->len;
    int r = buf_printf(out, err, "%s = '", name);
    for (const char *p = value; r >= 0 && *p != '\0'; p++) {
        if (*p == '\'' || *p == '\\')
            r = buf_append(out, p, 1, err);
        if (r >= 0)
            r = buf_append(out, p, 1, err);
    }
    if (r >= 0)
        r = buf_append(out, "'\n", 2, err);
    if (r < 0)
        out->len = before;
    return r;
}

/* ---- marked blocks ---- */

int conf_block_begin(struct buf *out, const char *tag, const char *why, struct tm_err *err)
{
    return buf_printf(out, err, "# tidemark %s begin: %s\n", tag, why);
}

int conf_block_end(struct buf *out, const char *tag, struct tm_err *err)
{
    return buf_printf(out, err, "# tidemark %s end\n", tag);
}

struct block_remove {
    char begin[64];
    char end[64];
    bool inside;
    struct buf *out;
};

static bool starts_with(struct slice s, const char *text)
{
    size_t len = strlen(text);
    return s.len >= len && memcmp(s.data, text, len) == 0;
}

static int block_line(void *arg, const struct conf_line *line, struct tm_err *err)
{
    struct block_remove *b = arg;
    if (starts_with(line->text, b->begin))
        b->inside = true;
    if (b->inside) {
        b->inside = !starts_with(line->text, b->end);
        return 0;
    }
    return buf_append_slice(b->out, line->text, err);
}

int conf_block_remove(struct slice file, const char *tag, struct buf *out, struct tm_err *err)
{
    struct block_remove b = {.out = out};
    (void)snprintf(b.begin, sizeof(b.begin), "# tidemark %s begin", tag);
    (void)snprintf(b.end, sizeof(b.end), "# tidemark %s end", tag);
    return conf_scan(file, block_line, &b, err);
}

int conf_block_remove_command(struct buf *out, const char *tag, struct tm_err *err)
{
    /* the copy is durable before it takes the file's name; a failure leaves the file as it was */
    return buf_printf(out, err,
                      "sed \"/^# tidemark %s begin/,/^# tidemark %s end/d\" " AUTO_CONF
                      " > " AUTO_CONF ".tidemark && sync " AUTO_CONF ".tidemark && mv -f " AUTO_CONF
                      ".tidemark " AUTO_CONF,
                      tag, tag);
}
