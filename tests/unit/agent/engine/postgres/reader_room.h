#ifndef TM_TESTS_UNIT_AGENT_ENGINE_POSTGRES_READER_ROOM_H
#define TM_TESTS_UNIT_AGENT_ENGINE_POSTGRES_READER_ROOM_H
/* A made-up data directory with everything that a reader may meet in one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "agent/engine/postgres/control_file.h"
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/reader.h"
#include "common/hash.h"

#define BLOCK      ((size_t)1024) /* small blocks and segments, so that small files are large */
#define SEGMENT    4              /* blocks */
#define PATH_BYTES 4200
#define RANGES_MAX 4000
#define FILES_MAX  400
#define OTHER_OID  "16500"
#define VERSION    "PG_15_202209061"
#define INSIDE     "inside/PG_15_202209061"
#define SPACE      "../space/PG_15_202209061"
#define INSIDE_DB  "inside/PG_15_202209061/5"
#define SPACE_DB   "../space/PG_15_202209061/5"

struct room {
    char top[64]; /* holds data/ and space/ */
    char data[80];
    struct engine_instance instance;
    struct buf begin;
};

static TM_UNUSED void write_at(const struct room *room, const char *path, size_t bytes)
{
    char full[PATH_BYTES];
    snprintf(full, sizeof(full), "%s/%s", room->data, path);
    int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (size_t at = 0; at < bytes; at++) {
        /* the content says which block it is */
        uint8_t c = (uint8_t)(at / BLOCK + 'a');
        assert_int_equal(write(fd, &c, 1), 1);
    }
    close(fd);
}

static TM_UNUSED void make_dir(const struct room *room, const char *path)
{
    char full[PATH_BYTES];
    snprintf(full, sizeof(full), "%s/%s", room->data, path);
    assert_int_equal(mkdir(full, 0700), 0);
}

static TM_UNUSED void make_link(const struct room *room, const char *target, const char *path)
{
    char full[PATH_BYTES], to[PATH_BYTES];
    snprintf(full, sizeof(full), "%s/%s", room->data, path);
    snprintf(to, sizeof(to), "%s/%s", room->top, target);
    assert_int_equal(symlink(to, full), 0);
}

static TM_UNUSED void make_socket(const struct room *room, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    int len = snprintf(address.sun_path, sizeof(address.sun_path), "%.60s/%.30s", room->data, path);
    assert_true(len > 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
}

/* What is neither file, directory, nor a link that is followed. */
static TM_UNUSED void make_specials(const struct room *room)
{
    char full[PATH_BYTES];
    snprintf(full, sizeof(full), "%s/base/1/400", room->data); /* named as a relation */
    assert_int_equal(mkfifo(full, 0600), 0);
    snprintf(full, sizeof(full), "%s/null", room->data);
    assert_int_equal(symlink("/dev/null", full), 0);
    make_socket(room, "socket");
    make_socket(room, ".s.PGSQL.5432");
    make_link(room, "nowhere", "dangling");
    make_link(room, "nowhere", "pg_tblspc/16700");
    make_link(room, "nowhere", "postmaster.opts"); /* a name that is left out anyway */
}

static TM_UNUSED void write_control(const struct room *room)
{
    uint8_t bytes[CONTROL_FILE_BYTES] = {0};
    const uint32_t words[][2] = {{8, 1300},       {12, 202209061},        {16, 6},
                                 {48, 1},         {216, (uint32_t)BLOCK}, {220, SEGMENT},
                                 {228, 16u << 20}};
    const uint64_t system_id = 4711;
    char full[PATH_BYTES];
    memcpy(bytes, &system_id, sizeof(system_id));
    for (size_t n = 0; n < TM_ARRAY_LEN(words); n++)
        memcpy(bytes + words[n][0], &words[n][1], sizeof(uint32_t));
    uint32_t crc = crc32c(CRC32C_INIT, bytes, 288);
    memcpy(bytes + 288, &crc, sizeof(crc));
    snprintf(full, sizeof(full), "%s/%s", room->data, CONTROL_FILE_PATH);
    int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
    close(fd);
}

static TM_UNUSED void make_begin(struct room *room)
{
    char inside[PATH_BYTES], config[PATH_BYTES], gone[PATH_BYTES], role[] = "config_file",
                                                                   label[] = "test";
    snprintf(inside, sizeof(inside), "%s/inside", room->data);
    snprintf(config, sizeof(config), "%s/etc.conf", room->top);
    snprintf(gone, sizeof(gone), "%s/gone.conf", room->top);
    struct pg_tablespace tablespaces[] = {{16600, inside}};
    struct pg_config_file files[] = {{config, role}, {gone, role}};
    struct pg_begin begin = {
        .system_id = 4711,
        .start_lsn = 16u << 20,
        .replay_from = 16u << 20,
        .timeline = 1,
        .version_num = 150000,
        .catalog_version = 202209061,
        .control_version = 1300,
        .block_bytes = BLOCK,
        .relation_segment_blocks = SEGMENT,
        .wal_segment_bytes = 16u << 20,
        .data_dir = room->data,
        .label = label,
        .next_xid = UINT64_C(0x1000002BC),
        .tablespaces = tablespaces,
        .tablespace_count = 1,
        .config_files = files,
        .config_file_count = 2,
    };
    struct tm_err err = {0};
    assert_int_equal(pg_begin_encode(&begin, &room->begin, &err), 0);
}

static TM_UNUSED int room_make(void **state)
{
    static const char *const dirs[] = {
        "global",         "base",      "base/1",      "base/5",
        "base/pgsql_tmp", "pg_tblspc", "pg_wal",      "pg_wal/archive_status",
        "pg_twophase",    "pg_xact",   "pg_replslot", "pg_replslot/old",
        "empty",          "inside",    INSIDE,        INSIDE_DB,
        "../space",       SPACE,       SPACE_DB,      "../space/PG_14_202107181",
        "../elsewhere"};
    static const struct {
        const char *path;
        size_t bytes;
    } files[] = {
        {"PG_VERSION", 3},
        {"postmaster.pid", 5},
        {"big.log", (3u << 20) + 77},
        {"global/pg_filenode.map", 512},
        {"global/1262", BLOCK},
        {"global/1262_vm", 0},
        {"base/1/PG_VERSION", 3},
        {"base/1/100", 3 * BLOCK},
        {"base/1/100_fsm", BLOCK},
        {"base/1/101", SEGMENT * BLOCK},
        {"base/1/101.1", SEGMENT * BLOCK},
        {"base/1/101.2", BLOCK + 100}, /* just being extended */
        {"base/1/102", 0},
        {"base/1/200", BLOCK}, /* unlogged */
        {"base/1/200_fsm", BLOCK},
        {"base/1/200_init", 0},
        {"base/1/t3_300", BLOCK},
        {"base/1/0400", BLOCK}, /* no relation: leading zero */
        {"base/5/100", 2 * BLOCK},
        {"base/5/pg_internal.init", 100},
        {"base/pgsql_tmp/pgsql_tmp1.0", 100},
        {"pg_wal/000000010000000000000001", 100},
        {"pg_wal/archive_status/x.ready", 0},
        {"pg_twophase/000002BC", 100}, /* began after the start */
        {"pg_twophase/000002bb", 10},  /* no name that the server gives */
        {"pg_twophase/FFFFFFF0", 8},   /* before: less than half a round away */
        {"pg_xact/0000", 8192},
        {"pg_replslot/old/state", 10},
        {INSIDE "/5/700", BLOCK},
        {SPACE "/5/600", 2 * BLOCK},
        {"../space/PG_14_202107181/other", 10},
        {"../etc.conf", 20},
        {"../elsewhere/file", 5},
        {"../linked.conf", 9},
    };
    struct room *room = calloc(1, sizeof(*room));
    assert_non_null(room);
    snprintf(room->top, sizeof(room->top), "/tmp/reader_test.XXXXXX");
    assert_non_null(mkdtemp(room->top));
    snprintf(room->data, sizeof(room->data), "%s/data", room->top);
    assert_int_equal(mkdir(room->data, 0700), 0);
    for (size_t n = 0; n < TM_ARRAY_LEN(dirs); n++)
        make_dir(room, dirs[n]);
    for (size_t n = 0; n < TM_ARRAY_LEN(files); n++)
        write_at(room, files[n].path, files[n].bytes);
    make_link(room, "space", "pg_tblspc/" OTHER_OID);
    make_link(room, "data/inside", "pg_tblspc/16600");
    make_link(room, "elsewhere", "log");
    make_link(room, "linked.conf", "linked.conf");
    make_specials(room);
    write_control(room);
    make_begin(room);
    room->instance = (struct engine_instance){"main", room->data, "host=/nowhere"};
    *state = room;
    return 0;
}

static TM_UNUSED int room_remove(void **state)
{
    struct room *room = *state;
    char command[100];
    snprintf(command, sizeof(command), "rm -r %s", room->top);
    assert_int_equal(system(command), 0);
    buf_release(&room->begin);
    free(room);
    return 0;
}

#endif
