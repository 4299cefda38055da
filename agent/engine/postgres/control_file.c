/*
 * Happy path: 8192 bytes are read, the version field at offset 8 chooses the CRC's place, the CRC
 * over everything before it is right, the fields are taken out.
 *
 * Failure modes: a torn read (CRC wrong, read again); real damage (the same wrong CRC twice);
 * another version (13 to 18 share one layout up to the checksum version; 18 has one byte more
 * before the CRC).
 *
 * The offsets below are those of struct ControlFileData on a 64-bit little-endian machine.
 */
#include "agent/engine/postgres/control_file.h"

#include <fcntl.h>
#include <time.h>

#include "agent/engine/postgres/version.h"
#include "agent/engine/postgres/wal.h"
#include "common/hash.h"

#define CONTROL_PARSE_MIN 512
#define CONTROL_RETRIES   10
#define CONTROL_RETRY_NS  10000000L

enum control_offset {
    OFF_SYSTEM_ID = 0,
    OFF_CONTROL_VERSION = 8,
    OFF_CATALOG_VERSION = 12,
    OFF_STATE = 16,
    OFF_CHECKPOINT = 32,
    OFF_REDO = 40,
    OFF_TIMELINE = 48,
    OFF_FULL_PAGE_WRITES = 56,
    OFF_NEXT_XID = 64,
    OFF_MIN_RECOVERY_POINT = 136,
    OFF_MIN_RECOVERY_TIMELINE = 144,
    OFF_WAL_LEVEL = 172,
    OFF_WAL_LOG_HINTS = 176,
    OFF_MAX_CONNECTIONS = 180,
    OFF_MAX_WORKER_PROCESSES = 184,
    OFF_MAX_WAL_SENDERS = 188,
    OFF_MAX_PREPARED = 192,
    OFF_MAX_LOCKS = 196,
    OFF_TRACK_COMMIT_TIMESTAMP = 200,
    OFF_BLOCK_BYTES = 216,
    OFF_RELATION_SEGMENT = 220,
    OFF_WAL_BLOCK_BYTES = 224,
    OFF_WAL_SEGMENT_BYTES = 228,
    OFF_CHECKSUM_VERSION = 252,
};

static uint32_t get32(struct slice bytes, size_t offset)
{
    uint32_t value;
    memcpy(&value, bytes.data + offset, sizeof(value));
    return value;
}

static int32_t get_int(struct slice bytes, size_t offset)
{
    return (int32_t)get32(bytes, offset);
}

static uint64_t get64(struct slice bytes, size_t offset)
{
    uint64_t value;
    memcpy(&value, bytes.data + offset, sizeof(value));
    return value;
}

/* The two version fields must belong together: 13 to 16 share the number of the control file. */
static int find_version(struct slice bytes, const struct pg_version **ret, struct tm_err *err)
{
    uint32_t control = get32(bytes, OFF_CONTROL_VERSION);
    uint32_t catalog = get32(bytes, OFF_CATALOG_VERSION);
    if (control % 65536 == 0 && control / 65536 != 0)
        return tm_err_set(err, TM_E_UNSUPPORTED,
                          "pg_control was written on a machine of another byte order");
    for (uint32_t major = PG_MAJOR_MIN; major <= PG_MAJOR_MAX; major++) {
        const struct pg_version *version = pg_version_find(major);
        if (version->control_version == control && version->catalog_version == catalog) {
            *ret = version;
            return 0;
        }
    }
    return tm_err_set(err, TM_E_UNSUPPORTED,
                      "pg_control has version %u with catalog version %u: not a release of "
                      "PostgreSQL %d to %d",
                      control, catalog, PG_MAJOR_MIN, PG_MAJOR_MAX);
}

/* *ret_crc is set in any case: two equal wrong ones in a row are damage, not a torn read. */
static int check_crc(struct slice bytes, const struct pg_version *version, uint32_t *ret_crc,
                     struct tm_err *err)
{
    uint32_t computed = crc32c(CRC32C_INIT, bytes.data, version->control_crc_offset);
    uint32_t stored = get32(bytes, version->control_crc_offset);
    *ret_crc = computed;
    if (computed != stored)
        return tm_err_set(err, TM_E_CORRUPT, "pg_control has checksum %08x, its bytes have %08x",
                          stored, computed);
    return 0;
}

static int check_values(const struct control_file *control, struct tm_err *err)
{
    uint32_t block = control->block_bytes;
    if (block < 1024 || block > 32768 || (block & (block - 1)) != 0)
        return tm_err_set(err, TM_E_CORRUPT, "pg_control has an impossible block size: %u", block);
    if (control->relation_segment_blocks == 0)
        return tm_err_set(err, TM_E_CORRUPT, "pg_control has an impossible segment size: 0 blocks");
    uint32_t segment = control->wal_segment_bytes;
    if (!pg_wal_segment_bytes_valid(segment))
        return tm_err_set(err, TM_E_CORRUPT, "pg_control has an impossible WAL segment size: %u",
                          segment);
    return 0;
}

static struct control_settings settings_of(struct slice bytes)
{
    return (struct control_settings){
        .wal_level = get_int(bytes, OFF_WAL_LEVEL),
        .max_connections = get_int(bytes, OFF_MAX_CONNECTIONS),
        .max_worker_processes = get_int(bytes, OFF_MAX_WORKER_PROCESSES),
        .max_wal_senders = get_int(bytes, OFF_MAX_WAL_SENDERS),
        .max_prepared_transactions = get_int(bytes, OFF_MAX_PREPARED),
        .max_locks_per_transaction = get_int(bytes, OFF_MAX_LOCKS),
        .wal_log_hints = bytes.data[OFF_WAL_LOG_HINTS] != 0,
        .track_commit_timestamp = bytes.data[OFF_TRACK_COMMIT_TIMESTAMP] != 0,
    };
}

static int parse(struct slice bytes, struct control_file *ret, uint32_t *ret_crc,
                 struct tm_err *err)
{
    const struct pg_version *version = NULL;
    *ret_crc = 0;
    if (bytes.len < CONTROL_PARSE_MIN)
        return tm_err_set(err, TM_E_CORRUPT, "pg_control is too short: %zu bytes", bytes.len);
    int r = find_version(bytes, &version, err);
    if (r < 0)
        return r;
    r = check_crc(bytes, version, ret_crc, err);
    if (r < 0)
        return r;
    struct control_file control = {
        .system_id = get64(bytes, OFF_SYSTEM_ID),
        .control_version = get32(bytes, OFF_CONTROL_VERSION),
        .catalog_version = get32(bytes, OFF_CATALOG_VERSION),
        .major = version->major,
        .state = (enum control_file_state)get32(bytes, OFF_STATE),
        .checkpoint = get64(bytes, OFF_CHECKPOINT),
        .redo = get64(bytes, OFF_REDO),
        .timeline = get32(bytes, OFF_TIMELINE),
        .full_page_writes = bytes.data[OFF_FULL_PAGE_WRITES] != 0,
        .next_xid = get64(bytes, OFF_NEXT_XID),
        .min_recovery_point = get64(bytes, OFF_MIN_RECOVERY_POINT),
        .min_recovery_timeline = get32(bytes, OFF_MIN_RECOVERY_TIMELINE),
        .settings = settings_of(bytes),
        .block_bytes = get32(bytes, OFF_BLOCK_BYTES),
        .relation_segment_blocks = get32(bytes, OFF_RELATION_SEGMENT),
        .wal_block_bytes = get32(bytes, OFF_WAL_BLOCK_BYTES),
        .wal_segment_bytes = get32(bytes, OFF_WAL_SEGMENT_BYTES),
        .checksum_version = get32(bytes, OFF_CHECKSUM_VERSION),
    };
    r = check_values(&control, err);
    if (r < 0)
        return r;
    *ret = control;
    return 0;
}

int control_file_parse(struct slice bytes, struct control_file *ret, struct tm_err *err)
{
    uint32_t crc;
    return parse(bytes, ret, &crc, err);
}

static int read_once(int data_dir_fd, uint8_t *bytes, struct tm_err *err)
{
    TM_CLEANUP(closep) int fd = openat(data_dir_fd, CONTROL_FILE_PATH, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot open '%s'", CONTROL_FILE_PATH);
    size_t have = 0;
    while (have < CONTROL_FILE_BYTES) {
        ssize_t n = pread(fd, bytes + have, CONTROL_FILE_BYTES - have, (off_t)have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tm_err_errno(err, errno, "cannot read '%s'", CONTROL_FILE_PATH);
        if (n == 0)
            break;
        have += (size_t)n;
    }
    if (have < CONTROL_PARSE_MIN)
        return tm_err_set(err, TM_E_CORRUPT, "'%s' is too short: %zu bytes", CONTROL_FILE_PATH,
                          have);
    memset(bytes + have, 0, CONTROL_FILE_BYTES - have);
    return 0;
}

int control_file_read(int data_dir_fd, struct control_file *ret, uint8_t *ret_bytes,
                      struct tm_err *err)
{
    uint8_t bytes[CONTROL_FILE_BYTES];
    struct control_file control;
    uint32_t crc, last_crc = 0;
    for (unsigned attempt = 0;; attempt++) {
        int r = read_once(data_dir_fd, bytes, err);
        if (r < 0)
            return r;
        r = parse(slice_of(bytes, sizeof(bytes)), &control, &crc, err);
        if (r == 0)
            break;
        if (err->code != TM_E_CORRUPT || attempt == CONTROL_RETRIES ||
            (attempt > 0 && crc == last_crc))
            return r;
        last_crc = crc;
        (void)nanosleep(&(struct timespec){.tv_nsec = CONTROL_RETRY_NS}, NULL);
    }
    *ret = control;
    if (ret_bytes)
        memcpy(ret_bytes, bytes, sizeof(bytes));
    return 0;
}

/* ---- rewriting ---- */

static void put32(uint8_t *bytes, size_t offset, uint32_t value)
{
    memcpy(bytes + offset, &value, sizeof(value));
}

static void put64(uint8_t *bytes, size_t offset, uint64_t value)
{
    memcpy(bytes + offset, &value, sizeof(value));
}

int control_file_recovering(uint8_t bytes[CONTROL_FILE_BYTES], uint64_t min_recovery_point,
                            uint32_t timeline, const struct control_settings *settings,
                            struct tm_err *err)
{
    struct control_file control;
    int r = control_file_parse(slice_of(bytes, CONTROL_FILE_BYTES), &control, err);
    if (r < 0)
        return r;
    const size_t crc_offset = pg_version_find(control.major)->control_crc_offset;
    put32(bytes, OFF_STATE, CONTROL_IN_ARCHIVE_RECOVERY);
    put64(bytes, OFF_MIN_RECOVERY_POINT, min_recovery_point);
    put32(bytes, OFF_MIN_RECOVERY_TIMELINE, timeline);
    put32(bytes, OFF_WAL_LEVEL, (uint32_t)settings->wal_level);
    put32(bytes, OFF_MAX_CONNECTIONS, (uint32_t)settings->max_connections);
    put32(bytes, OFF_MAX_WORKER_PROCESSES, (uint32_t)settings->max_worker_processes);
    put32(bytes, OFF_MAX_WAL_SENDERS, (uint32_t)settings->max_wal_senders);
    put32(bytes, OFF_MAX_PREPARED, (uint32_t)settings->max_prepared_transactions);
    put32(bytes, OFF_MAX_LOCKS, (uint32_t)settings->max_locks_per_transaction);
    bytes[OFF_WAL_LOG_HINTS] = settings->wal_log_hints;
    bytes[OFF_TRACK_COMMIT_TIMESTAMP] = settings->track_commit_timestamp;
    put32(bytes, crc_offset, crc32c(CRC32C_INIT, bytes, crc_offset));
    return 0;
}

const char *control_file_state_text(enum control_file_state state)
{
    switch (state) {
    case CONTROL_STARTUP:
        return "starting up";
    case CONTROL_SHUTDOWNED:
        return "shut down";
    case CONTROL_SHUTDOWNED_IN_RECOVERY:
        return "shut down in recovery";
    case CONTROL_SHUTDOWNING:
        return "shutting down";
    case CONTROL_IN_CRASH_RECOVERY:
        return "in crash recovery";
    case CONTROL_IN_ARCHIVE_RECOVERY:
        return "in archive recovery";
    case CONTROL_IN_PRODUCTION:
        return "in production";
    }
    return "unknown";
}
