/*
 * The layout is PostgreSQL's own, byte for byte where its parser cares: the last line, with the
 * checksum, is on a line of its own, and the checksum covers everything before that line.
 *
 * Small pieces are collected in one buffer and handed on when it is full.
 */
#include "agent/engine/postgres/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "agent/engine/postgres/wal.h"
#include "common/hash.h"

#define MANIFEST_FLUSH_BYTES ((size_t)64 * 1024)

enum section { SECTION_FILES, SECTION_RANGES, SECTION_DONE };

struct pg_manifest {
    manifest_write_fn write;
    void *arg;
    enum section section;
    bool first; /* of the current section */
    struct buf out;
    struct hash_sha256 *hash;
};

static int flush(struct pg_manifest *m, struct tm_err *err)
{
    int r = hash_sha256_update(m->hash, m->out.data, m->out.len, err);
    if (r >= 0)
        r = m->write(m->arg, buf_slice(&m->out), err);
    buf_reset(&m->out);
    return r;
}

static int flush_when_full(struct pg_manifest *m, struct tm_err *err)
{
    return m->out.len >= MANIFEST_FLUSH_BYTES ? flush(m, err) : 0;
}

int pg_manifest_new(unsigned major, uint64_t system_identifier, manifest_write_fn write, void *arg,
                    struct pg_manifest **ret_manifest, struct tm_err *err)
{
    TM_CLEANUP(pg_manifest_freep) struct pg_manifest *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return tm_err_oom(err);
    m->write = write;
    m->arg = arg;
    m->first = true;
    int r = hash_sha256_new(&m->hash, err);
    if (r < 0)
        return r;
    if (major >= 17)
        r = buf_printf(&m->out, err,
                       "{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n"
                       "\"System-Identifier\": %" PRIu64 ",\n\"Files\": [",
                       system_identifier);
    else
        r = buf_printf(&m->out, err, "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [");
    if (r < 0)
        return r;
    *ret_manifest = TM_TAKE(m);
    return 0;
}

void pg_manifest_free(struct pg_manifest *m)
{
    if (m == NULL)
        return;
    hash_sha256_free(m->hash);
    buf_release(&m->out);
    free(m);
}

/* Length of the UTF-8 sequence at p, or 0: overlong, surrogate, beyond U+10FFFF, cut. */
static size_t utf8_length(const uint8_t *p, size_t left)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = p[0] < 0x80             ? 1
                 : (p[0] & 0xE0) == 0xC0 ? 2
                 : (p[0] & 0xF0) == 0xE0 ? 3
                 : (p[0] & 0xF8) == 0xF0 ? 4
                                         : 0;
    if (len <= 1)
        return len;
    if (len > left)
        return 0;
    uint32_t code = p[0] & (0x7Fu >> len);
    for (size_t k = 1; k < len; k++) {
        if ((p[k] & 0xC0) != 0x80)
            return 0;
        code = (code << 6) | (p[k] & 0x3Fu);
    }
    if (code < smallest[len] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
        return 0;
    return len;
}

static bool is_utf8(const char *text)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t left = strlen(text);
    while (left > 0) {
        size_t len = utf8_length(p, left);
        if (len == 0)
            return false;
        p += len;
        left -= len;
    }
    return true;
}

static int append_json(struct buf *out, const char *text, struct tm_err *err)
{
    int r = buf_append(out, "\"", 1, err);
    for (const char *p = text; r >= 0 && *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            r = buf_printf(out, err, "\\%c", c);
        else if (c < 0x20)
            r = buf_printf(out, err, "\\u%04x", c);
        else
            r = buf_append(out, p, 1, err);
    }
    return r < 0 ? r : buf_append(out, "\"", 1, err);
}

static int append_path(struct buf *out, const char *path, struct tm_err *err)
{
    if (is_utf8(path)) {
        int r = buf_printf(out, err, "{ \"Path\": ");
        return r < 0 ? r : append_json(out, path, err);
    }
    int r = buf_printf(out, err, "{ \"Encoded-Path\": \"");
    for (const char *p = path; r >= 0 && *p != '\0'; p++)
        r = buf_printf(out, err, "%02x", (unsigned char)*p);
    return r < 0 ? r : buf_append(out, "\"", 1, err);
}

int pg_manifest_file(struct pg_manifest *m, const char *path, uint64_t size_bytes,
                     int64_t modified_us, uint32_t crc, struct tm_err *err)
{
    time_t seconds = (time_t)(modified_us / 1000000);
    struct tm utc;
    char when[64];
    if (m->section != SECTION_FILES)
        return tm_err_set(err, TM_E_INTERNAL, "manifest: a file after the log ranges");
    if (gmtime_r(&seconds, &utc) == NULL || strftime(when, sizeof(when), "%F %T GMT", &utc) == 0)
        return tm_err_set(err, TM_E_INVALID, "manifest: '%.200s' has an impossible time", path);
    /* PostgreSQL prints a CRC32C as the four bytes lie in memory on a little-endian machine */
    uint8_t b[4] = {(uint8_t)crc, (uint8_t)(crc >> 8), (uint8_t)(crc >> 16), (uint8_t)(crc >> 24)};
    int r = buf_printf(&m->out, err, m->first ? "\n" : ",\n");
    if (r >= 0)
        r = append_path(&m->out, path, err);
    if (r >= 0)
        r = buf_printf(&m->out, err,
                       ", \"Size\": %" PRIu64 ", \"Last-Modified\": \"%s\", "
                       "\"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"%02x%02x%02x%02x\" }",
                       size_bytes, when, b[0], b[1], b[2], b[3]);
    m->first = false;
    return r < 0 ? r : flush_when_full(m, err);
}

int pg_manifest_wal_range(struct pg_manifest *m, uint32_t timeline, uint64_t start_lsn,
                          uint64_t end_lsn, struct tm_err *err)
{
    char start[PG_LSN_TEXT_MAX];
    char end[PG_LSN_TEXT_MAX];
    int r = 0;
    if (m->section == SECTION_FILES) {
        r = buf_printf(&m->out, err, "\n],\n\"WAL-Ranges\": [");
        m->section = SECTION_RANGES;
        m->first = true;
    }
    if (r >= 0)
        r = buf_printf(&m->out, err,
                       "%s{ \"Timeline\": %" PRIu32
                       ", \"Start-LSN\": \"%s\", \"End-LSN\": \"%s\" }",
                       m->first ? "\n" : ",\n", timeline, pg_lsn_format(start_lsn, start),
                       pg_lsn_format(end_lsn, end));
    m->first = false;
    return r < 0 ? r : flush_when_full(m, err);
}

int pg_manifest_finish(struct pg_manifest *m, struct tm_err *err)
{
    struct sha256 digest;
    char hex[SHA256_LEN * 2 + 1];
    if (m->section != SECTION_RANGES)
        return tm_err_set(err, TM_E_INTERNAL, "manifest: finished without a log range");
    int r = buf_printf(&m->out, err, "\n],\n");
    if (r >= 0)
        r = flush(m, err);
    if (r >= 0)
        r = hash_sha256_final(m->hash, &digest, err);
    if (r >= 0)
        r = buf_printf(&m->out, err, "\"Manifest-Checksum\": \"%s\"}\n",
                       hex_encode(digest.bytes, SHA256_LEN, hex));
    if (r >= 0)
        r = m->write(m->arg, buf_slice(&m->out), err);
    buf_reset(&m->out);
    m->section = SECTION_DONE;
    return r;
}
