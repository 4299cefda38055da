/*
 * The shared credentials file: [profile] lines, and `key = value` lines below them. Only the keys
 * of the wanted profile are looked at.
 *
 * Failures name file and line: a line that is neither, a key without value, a profile without one
 * of its two keys.
 */
#include <ctype.h>

#include "common/credential/internal.h"

#define FILE_MAX ((size_t)64 << 10) /* many profiles, and settings of other programs */

struct file {
    const char *path;
    const char *profile;
    unsigned line;
    unsigned profile_line; /* 0 = not seen */
    bool inside;
    struct s3_keys keys;
};

static char *trim(char *text)
{
    text += strspn(text, " \t\r");
    size_t len = strlen(text);
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        text[--len] = '\0';
    return text;
}

static int take_section(struct file *f, char *line, struct tm_err *err)
{
    char *end = strchr(line, ']');
    if (end == NULL)
        return tm_err_set(err, TM_E_INVALID, "%s:%u: '[' without ']'", f->path, f->line);
    *end = '\0';
    f->inside = strcmp(trim(line + 1), f->profile) == 0;
    if (f->inside)
        f->profile_line = f->line;
    return 0;
}

static int take_key(struct file *f, char *line, struct tm_err *err)
{
    char *equals = strchr(line, '=');
    if (equals == NULL)
        return tm_err_set(err, TM_E_INVALID, "%s:%u: neither '[profile]' nor 'key = value'",
                          f->path, f->line);
    *equals = '\0';
    const char *key = trim(line);
    const char *value = trim(equals + 1);
    struct secret *to = strcmp(key, "aws_access_key_id") == 0       ? &f->keys.access_key
                        : strcmp(key, "aws_secret_access_key") == 0 ? &f->keys.secret_key
                        : strcmp(key, "aws_session_token") == 0     ? &f->keys.session_token
                                                                    : NULL;
    if (!f->inside || to == NULL)
        return 0;
    size_t len = strlen(value);
    if (!credential_is_token(value, len))
        return tm_err_set(err, TM_E_INVALID, "%s:%u: '%s' has no value, or one with blanks in it",
                          f->path, f->line, key);
    int r = secret_set(to, value, len, err);
    return r < 0 ? tm_err_prefix(err, "%s:%u", f->path, f->line) : 0;
}

static int take_line(struct file *f, char *line, struct tm_err *err)
{
    f->line++;
    bool indented = line[0] == ' ' || line[0] == '\t'; /* belongs to a key we do not look at */
    char *text = trim(line);
    if (indented || text[0] == '\0' || text[0] == '#' || text[0] == ';')
        return 0;
    return text[0] == '[' ? take_section(f, text, err) : take_key(f, text, err);
}

static int check(const struct file *f, struct tm_err *err)
{
    const char *missing = f->keys.access_key.len == 0   ? "aws_access_key_id"
                          : f->keys.secret_key.len == 0 ? "aws_secret_access_key"
                                                        : NULL;
    if (missing == NULL)
        return 0;
    return tm_err_set(err, TM_E_INVALID, "%s:%u: profile '%s' has no '%s'", f->path,
                      f->profile_line, f->profile, missing);
}

int s3_file_read(const char *path, const char *profile, struct s3_keys *ret, bool *ret_found,
                 struct tm_err *err)
{
    TM_CLEANUP(secret_release) struct secret text = SECRET_INIT;
    int r = secret_load_max(path, FILE_MAX, &text, err);
    if (r < 0)
        return r;
    if (memchr(text.data, 0, text.len) != NULL)
        return tm_err_set(err, TM_E_INVALID, "'%s' has a NUL byte", path);
    struct file f = {.path = path, .profile = profile, .keys = {.ends_us = INT64_MAX}};
    char *at = (char *)text.data;
    while (r == 0 && at != NULL) {
        char *end = strchr(at, '\n');
        if (end != NULL)
            *end = '\0';
        r = take_line(&f, at, err);
        at = end != NULL ? end + 1 : NULL;
    }
    bool found = f.profile_line != 0;
    if (r == 0 && found)
        r = check(&f, err);
    if (r < 0 || !found) {
        s3_keys_release(&f.keys);
    } else {
        s3_keys_release(ret);
        *ret = f.keys;
    }
    if (r == 0)
        *ret_found = found;
    return r;
}
