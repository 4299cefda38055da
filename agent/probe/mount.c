/*
 * Mounts of a process.
 *
 * Happy path: every line of mountinfo is "id parent major:minor root point options … - type source
 * options"; the line with the longest point that the path begins with is the path's, the last one of
 * several with the same point lies on top.
 * Failure modes: the file cannot be read. A line of another form is passed over.
 */
#include "agent/probe/mount.h"

#include <stdio.h>

#include "common/fs.h"

#define FIELD_POINT 4 /* counted from 0 */

/* The next word up to `end`; false: there is none. */
static bool next_word(const char **at, const char *end, struct slice *ret)
{
    while (*at < end && **at == ' ')
        (*at)++;
    const char *start = *at;
    while (*at < end && **at != ' ')
        (*at)++;
    *ret = slice_of(start, (size_t)(*at - start));
    return ret->len > 0;
}

static int octal(const uint8_t *digits)
{
    int value = 0;
    for (size_t n = 0; n < 3; n++) {
        if (digits[n] < '0' || digits[n] > '7')
            return -1;
        value = value * 8 + (digits[n] - '0');
    }
    return value <= 255 ? value : -1;
}

/* "\040" is a space, and so on. What is too long is cut. */
static void unescape(struct slice word, char *ret, size_t size)
{
    size_t used = 0;
    for (size_t at = 0; at < word.len && used + 1 < size; at++) {
        int value = word.data[at] == '\\' && word.len - at > 3 ? octal(word.data + at + 1) : -1;
        ret[used++] = (char)(value > 0 ? value : word.data[at]);
        at += value > 0 ? 3 : 0;
    }
    ret[used] = '\0';
}

static bool is_network(const char *type)
{
    static const char *const types[] = {
        "nfs",    "nfs4", "cifs", "smb3",  "smbfs",          "ceph",       "fuse.ceph",
        "lustre", "gpfs", "gfs2", "ocfs2", "fuse.glusterfs", "fuse.sshfs", "fuse.s3fs",
        "beegfs", "afs",  "9p",   "pvfs2", "fuse.rclone",    "hostfs",
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(types); n++) {
        if (strcmp(type, types[n]) == 0)
            return true;
    }
    return false;
}

static bool parse_line(const char *line, const char *end, struct mount *ret)
{
    struct slice word;
    struct slice point = SLICE_EMPTY;
    size_t field = 0;
    for (; next_word(&line, end, &word); field++) {
        if (field == FIELD_POINT)
            point = word;
        else if (field > FIELD_POINT && slice_eq(word, slice_str("-")))
            break;
    }
    struct slice type, source;
    if (point.len == 0 || !next_word(&line, end, &type) || !next_word(&line, end, &source))
        return false;
    unescape(point, ret->point, sizeof(ret->point));
    unescape(type, ret->type, sizeof(ret->type));
    unescape(source, ret->source, sizeof(ret->source));
    ret->network = is_network(ret->type);
    return true;
}

static bool lies_below(const char *path, const char *point)
{
    size_t len = strlen(point);
    if (strcmp(point, "/") == 0)
        return path[0] == '/';
    return strncmp(path, point, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

int mount_find(struct slice mountinfo, const char *path, struct mount *ret, struct tm_err *err)
{
    const char *at = (const char *)mountinfo.data;
    const char *end = at + mountinfo.len;
    TM_CLEANUP(freep) struct mount *one = calloc(1, sizeof(*one));
    bool found = false;
    if (one == NULL)
        return tm_err_oom(err);
    while (at < end) {
        const char *feed = memchr(at, '\n', (size_t)(end - at));
        const char *stop = feed != NULL ? feed : end;
        if (parse_line(at, stop, one) && lies_below(path, one->point) &&
            (!found || strlen(one->point) >= strlen(ret->point))) {
            *ret = *one;
            found = true;
        }
        at = feed != NULL ? feed + 1 : end;
    }
    return found ? 0 : tm_err_set(err, TM_E_NOT_FOUND, "'%s' lies on no mount", path);
}

int mount_of(const char *path, struct mount *ret, struct tm_err *err)
{
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    int r = fs_read_file("/proc/self/mountinfo", MOUNT_FILE_MAX, &text, err);
    return r < 0 ? r : mount_find(buf_slice(&text), path, ret, err);
}
