/*
 * Starting is pg_ctl's work; waiting is ours: the eighth line of postmaster.pid says "ready" when
 * the server accepts connections. With hot_standby that is so from the consistent position on, while
 * it is still in recovery and refuses to write; pg_control says "in production" once that is over.
 * Reading two files needs neither a password nor a client library.
 *
 * Failure modes: no server of that version here; pg_ctl fails at once (bad configuration); the
 * server dies during recovery (its pid goes); it takes longer than the timeout. In all but the
 * first the end of the server's log goes into the error, and the server is stopped.
 */
#include "agent/engine/postgres/server.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "agent/engine/postgres/control_file.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/fs.h"

#define PROGRAM_OUTPUT_MAX ((size_t)16 * 1024)
#define PROBE_TIMEOUT_MS   10000u
#define STOP_TIMEOUT_S     "30"
#define POLL_US            (50 * USEC_PER_MSEC)
#define PIDFILE_MAX        ((size_t)8192)
#define PIDFILE_LINES      8

/* ---- running programs ---- */

static char *const clean_environment[] = {
    /* nothing of PGDATA, PGPORT and the like may reach the server */
    (char *)(uintptr_t) "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    (char *)(uintptr_t) "LANG=C",
    NULL,
};

static int wait_child(pid_t pid, const char *name, unsigned timeout_ms, int *ret_status,
                      struct tm_err *err)
{
    TM_CLEANUP(closep) int pidfd = (int)syscall(SYS_pidfd_open, pid, 0u);
    int64_t deadline = clock_mono_us() + (int64_t)timeout_ms * USEC_PER_MSEC;
    for (;;) {
        pid_t got = waitpid(pid, ret_status, WNOHANG);
        if (got == pid)
            return 0;
        if (got < 0 && errno != EINTR)
            return tm_err_errno(err, errno, "cannot wait for '%s'", name);
        int64_t left_ms = (deadline - clock_mono_us()) / USEC_PER_MSEC;
        if (left_ms <= 0)
            break;
        struct pollfd p = {.fd = pidfd, .events = POLLIN};
        (void)poll(&p, pidfd >= 0 ? 1 : 0, (int)TM_MIN(left_ms, (int64_t)(pidfd >= 0 ? 1000 : 20)));
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, ret_status, 0);
    return tm_err_set(err, TM_E_TIMEOUT, "'%s' did not end within %u ms", name, timeout_ms);
}

/* Standard output and error go to out_fd. */
static int spawn_program(char *const argv[], int out_fd, pid_t *ret_pid, struct tm_err *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int e = posix_spawn_file_actions_init(&actions);
    if (e != 0)
        return tm_err_errno(err, e, "cannot start '%s'", argv[0]);
    e = posix_spawnattr_init(&attributes);
    if (e == 0) {
        e = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        if (e == 0)
            e = posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
        if (e == 0)
            e = posix_spawn_file_actions_adddup2(&actions, out_fd, 2);
        if (e == 0)
            e = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
        if (e == 0)
            e = posix_spawn_file_actions_addchdir_np(&actions, "/");
        if (e == 0)
            e = posix_spawnattr_setsigmask(&attributes, &none);
        if (e == 0)
            e = posix_spawnattr_setsigdefault(&attributes, &all);
        if (e == 0)
            e = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                                          POSIX_SPAWN_SETSIGDEF);
        if (e == 0)
            e = posix_spawnp(ret_pid, argv[0], &actions, &attributes, argv, clean_environment);
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return e == 0 ? 0 : tm_err_errno(err, e, "cannot start '%s'", argv[0]);
}

/* Runs to the end; what it printed is appended to `out`. *ret_status as waitpid's. */
static int run_program(char *const argv[], unsigned timeout_ms, struct buf *out, int *ret_status,
                       struct tm_err *err)
{
    pid_t pid;
    struct tm_err cut = {0};
    TM_CLEANUP(closep) int fd = (int)syscall(SYS_memfd_create, "output", 1u /* MFD_CLOEXEC */);
    if (fd < 0)
        return tm_err_errno(err, errno, "cannot make a memory file");
    int rc = spawn_program(argv, fd, &pid, err);
    if (rc >= 0)
        rc = wait_child(pid, argv[0], timeout_ms, ret_status, err);
    if (rc < 0)
        return rc;
    if (lseek(fd, 0, SEEK_SET) == 0)
        (void)!fd_read_all(fd, out, PROGRAM_OUTPUT_MAX, argv[0], &cut);
    return 0;
}

/* ---- finding ---- */

/* Is `dir`/postgres a server of that major version? */
static bool is_bindir(const char *dir, unsigned major)
{
    char path[SERVER_BINDIR_MAX + 16];
    char version_flag[] = "--version";
    struct tm_err ignored = {0};
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    int status = 0;
    const char *text;
    (void)snprintf(path, sizeof(path), "%s/pg_ctl", dir);
    if (access(path, X_OK) < 0)
        return false;
    (void)snprintf(path, sizeof(path), "%s/postgres", dir);
    if (access(path, X_OK) < 0)
        return false;
    char *const argv[] = {path, version_flag, NULL};
    if (run_program(argv, PROBE_TIMEOUT_MS, &out, &status, &ignored) < 0 || status != 0 ||
        buf_cstr(&out, &text, &ignored) < 0)
        return false;
    static const char prefix[] = "postgres (PostgreSQL) ";
    return strncmp(text, prefix, sizeof(prefix) - 1) == 0 &&
           strtoul(text + sizeof(prefix) - 1, NULL, 10) == major;
}

struct search {
    unsigned major;
    char *dir;       /* SERVER_BINDIR_MAX */
    struct buf seen; /* for the message */
};

static bool try_dir(struct search *s, const char *dir, size_t len)
{
    struct tm_err ignored = {0};
    if (len == 0 || len >= SERVER_BINDIR_MAX)
        return false;
    (void)snprintf(s->dir, SERVER_BINDIR_MAX, "%.*s", (int)len, dir);
    if (is_bindir(s->dir, s->major))
        return true;
    (void)!buf_printf(&s->seen, &ignored, "%s%s", s->seen.len > 0 ? ", " : "", s->dir);
    return false;
}

static bool try_versioned(struct search *s)
{
    static const char *const patterns[] = {
        "/usr/lib/postgresql/%u/bin", /* Debian, Ubuntu */
        "/usr/pgsql-%u/bin",          /* packages of postgresql.org for Fedora, RHEL */
        "/usr/lib/postgresql%u/bin",  /* SUSE */
        "/usr/libexec/postgresql%u",  /* Alpine */
    };
    char dir[128];
    for (size_t k = 0; k < TM_ARRAY_LEN(patterns); k++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void)snprintf(dir, sizeof(dir), patterns[k], s->major);
#pragma GCC diagnostic pop
        if (try_dir(s, dir, strlen(dir)))
            return true;
    }
    return try_dir(s, "/usr/local/pgsql/bin", strlen("/usr/local/pgsql/bin"));
}

static bool try_path(struct search *s)
{
    const char *path = getenv("PATH");
    while (path != NULL && *path != '\0') {
        size_t len = strcspn(path, ":");
        if (path[0] == '/' && try_dir(s, path, len))
            return true;
        path += len + (path[len] == ':');
    }
    return false;
}

static bool try_pg_config(struct search *s)
{
    char name[] = "pg_config";
    char flag[] = "--bindir";
    char *const argv[] = {name, flag, NULL};
    struct tm_err ignored = {0};
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    int status = 0;
    if (run_program(argv, PROBE_TIMEOUT_MS, &out, &status, &ignored) < 0 || status != 0 ||
        out.len < 2)
        return false;
    const uint8_t *nl = memchr(out.data, '\n', out.len);
    return out.data[0] == '/' && nl != NULL &&
           try_dir(s, (const char *)out.data, (size_t)(nl - out.data));
}

int server_find_bindir(unsigned major, const char *hint, char ret_dir[SERVER_BINDIR_MAX],
                       struct tm_err *err)
{
    char dir[SERVER_BINDIR_MAX];
    TM_CLEANUP(buf_release) struct buf seen = BUF_INIT;
    struct search s = {.major = major, .dir = dir};
    bool found = hint != NULL ? try_dir(&s, hint, strlen(hint))
                              : try_versioned(&s) || try_path(&s) || try_pg_config(&s);
    seen = s.seen;
    if (!found) {
        const char *text = "nowhere";
        struct tm_err ignored = {0};
        (void)!buf_cstr(&seen, &text, &ignored);
        return tm_err_set(
            err, TM_E_NOT_FOUND,
            "no PostgreSQL %u on this host to start (looked in %.300s): install it, or "
            "name its directory with the server option tidemark.bindir",
            major, text);
    }
    memcpy(ret_dir, dir, sizeof(dir));
    return 0;
}

/* ---- postmaster.pid ---- */

struct pidfile {
    pid_t pid;
    char lines[PIDFILE_LINES]
              [256]; /* pid, data dir, start time, port, socket dir, address, shm, status */
};

static bool pidfile_read(int dir_fd, struct pidfile *ret)
{
    struct tm_err ignored = {0};
    TM_CLEANUP(closep) int fd = -1;
    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    memset(ret, 0, sizeof(*ret));
    if (fs_open_beneath(dir_fd, "postmaster.pid", O_RDONLY | O_NOFOLLOW, 0, &fd, &ignored) < 0 ||
        fd_read_all(fd, &text, PIDFILE_MAX, "postmaster.pid", &ignored) < 0)
        return false;
    const uint8_t *p = text.data;
    size_t left = text.len;
    for (size_t k = 0; k < PIDFILE_LINES && left > 0; k++) {
        const uint8_t *nl = memchr(p, '\n', left);
        size_t len = nl != NULL ? (size_t)(nl - p) : left;
        (void)snprintf(ret->lines[k], sizeof(ret->lines[k]), "%.*s", (int)TM_MIN(len, (size_t)255),
                       (const char *)p);
        size_t used = nl != NULL ? len + 1 : len;
        p += used;
        left -= used;
    }
    long pid = strtol(ret->lines[0], NULL, 10);
    ret->pid = (pid_t)(pid < 0 ? -pid : pid); /* negative: a single-user backend */
    return true;
}

/* What /proc says of a living pid: 1 a server on this directory, 0 surely something else, -1 cannot
 * tell. */
static int is_server_on(pid_t pid, const char *data_dir)
{
    char path[64];
    char cwd[PATH_MAX];
    char comm[32] = "";
    struct tm_err ignored = {0};
    (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    TM_CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    if (fd < 0 || fd_read_some(fd, comm, sizeof(comm) - 1, &n, path, &ignored) < 0)
        return -1;
    if (strncmp(comm, "postgres", 8) != 0 && strncmp(comm, "postmaster", 10) != 0)
        return 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/cwd", (int)pid);
    ssize_t len = readlink(path, cwd, sizeof(cwd) - 1);
    if (len < 0)
        return -1;
    cwd[len] = '\0';
    return strcmp(cwd, data_dir) == 0;
}

/* Somebody answers on the socket that the pid file names: the pid may be of another container. */
static bool socket_answers(const struct pidfile *p)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (p->lines[4][0] != '/' || p->lines[3][0] == '\0')
        return false;
    int n = snprintf(address.sun_path, sizeof(address.sun_path), "%.90s/.s.PGSQL.%.5s", p->lines[4],
                     p->lines[3]);
    if (n < 0 || (size_t)n >= sizeof(address.sun_path))
        return false;
    TM_CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
}

int server_alive(int dir_fd, const char *data_dir, bool *ret_alive, pid_t *ret_pid,
                 struct tm_err *err)
{
    struct pidfile p;
    (void)err;
    *ret_alive = false;
    *ret_pid = 0;
    if (!pidfile_read(dir_fd, &p) || p.pid <= 0)
        return 0;
    bool lives = p.pid != getpid() && (kill(p.pid, 0) == 0 || errno == EPERM);
    int verdict = lives ? is_server_on(p.pid, data_dir) : 0;
    /* when it cannot be told, assume the dangerous case; a dead pid with a live socket likewise,
     * unless the socket belongs to a server that is provably elsewhere */
    *ret_alive = verdict != 0 || (!lives && socket_answers(&p));
    *ret_pid = p.pid;
    return 0;
}

/* ---- replay ---- */

/* "postgres: startup recovering 000000010000000000000005" */
static bool title_segment(const char *pid_text, char ret_segment[25])
{
    static const char mark[] = "recovering ";
    char path[64];
    char title[256];
    size_t n = 0;
    struct tm_err ignored = {0};
    (void)snprintf(path, sizeof(path), "/proc/%.16s/cmdline", pid_text);
    TM_CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fd_pread_some(fd, title, sizeof(title) - 1, 0, &n, path, &ignored) < 0)
        return false;
    title[n] = '\0';
    const char *at = strstr(title, mark);
    if (at == NULL || strspn(at + sizeof(mark) - 1, "0123456789ABCDEF") < 24)
        return false;
    memcpy(ret_segment, at + sizeof(mark) - 1, 24);
    ret_segment[24] = '\0';
    return true;
}

bool server_replaying(int dir_fd, char ret_segment[25])
{
    struct pidfile p;
    struct tm_err ignored = {0};
    TM_CLEANUP(buf_release) struct buf children = BUF_INIT;
    const char *text = "";
    char path[64];
    if (!pidfile_read(dir_fd, &p) || p.pid <= 0)
        return false;
    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)p.pid, (int)p.pid);
    TM_CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fd_read_all(fd, &children, PIDFILE_MAX, path, &ignored) < 0 ||
        buf_cstr(&children, &text, &ignored) < 0)
        return false;
    while (*text != '\0') {
        char pid[17];
        size_t len = strcspn(text, " ");
        (void)snprintf(pid, sizeof(pid), "%.*s", (int)TM_MIN(len, (size_t)16), text);
        if (len > 0 && title_segment(pid, ret_segment))
            return true;
        text += len;
        text += strspn(text, " ");
    }
    return false;
}

/* ---- starting ---- */

#define COMMAND_MAX 16

/* Groups come from the user database, where the user is in it. */
static bool has_name(uid_t uid)
{
    struct passwd pw;
    struct passwd *found = NULL;
    char text[16384];
    return getpwuid_r(uid, &pw, text, sizeof(text), &found) == 0 && found != NULL;
}

/* argv with what changes the user in front, when we are root. Numbers live in `texts`. */
static void command_build(const struct server_start *s, char *argv[COMMAND_MAX + 8],
                          char texts[2][32], char *const command[])
{
    size_t n = 0;
    if (geteuid() == 0 && s->uid != 0) {
        (void)snprintf(texts[0], sizeof(texts[0]), "--reuid=%u", (unsigned)s->uid);
        (void)snprintf(texts[1], sizeof(texts[1]), "--regid=%u", (unsigned)s->gid);
        argv[n++] = (char *)(uintptr_t) "setpriv";
        argv[n++] = texts[0];
        argv[n++] = texts[1];
        argv[n++] = (char *)(uintptr_t)(has_name(s->uid) ? "--init-groups" : "--clear-groups");
        argv[n++] = (char *)(uintptr_t) "--";
    }
    for (size_t k = 0; k < COMMAND_MAX && command[k] != NULL; k++)
        argv[n++] = command[k];
    argv[n] = NULL;
}

static char *word(const char *text)
{
    return (char *)(uintptr_t)text; /* posix_spawn does not write to argv */
}

static int run_pg_ctl(const struct server_start *s, char *const tail[], unsigned timeout_ms,
                      struct buf *out, struct tm_err *err)
{
    char program[SERVER_BINDIR_MAX + 16];
    char texts[2][32];
    char *command[COMMAND_MAX + 1] = {program, word("-D"), word(s->data_dir)};
    char *argv[COMMAND_MAX + 8];
    int status = 0;
    size_t n = 3;
    (void)snprintf(program, sizeof(program), "%s/pg_ctl", s->bindir);
    for (size_t k = 0; tail[k] != NULL && n < COMMAND_MAX; k++)
        command[n++] = tail[k];
    command_build(s, argv, texts, command);
    int rc = run_program(argv, timeout_ms, out, &status, err);
    if (rc < 0)
        return rc;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    const char *said = "";
    struct tm_err ignored = {0};
    const uint8_t *nl = out->len > 0 ? memchr(out->data, '\n', out->len) : NULL;
    if (nl != NULL)
        out->len = (size_t)(nl - out->data);
    (void)!buf_cstr(out, &said, &ignored);
    return tm_err_set(err, TM_E_UNAVAILABLE, "pg_ctl %s failed: %.120s", tail[0], said);
}

/* The end of the log from `from` on, in one line: the last words matter most. */
static void log_tail(const char *path, uint64_t from, char *tail, size_t size)
{
    struct stat st;
    struct tm_err ignored = {0};
    size_t n = 0;
    tail[0] = '\0';
    TM_CLEANUP(closep) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return;
    uint64_t end = (uint64_t)st.st_size;
    uint64_t start = end > from + size - 1 ? end - (size - 1) : from;
    if (start > end || fd_pread_some(fd, tail, size - 1, start, &n, path, &ignored) < 0)
        n = 0;
    while (n > 0 && tail[n - 1] == '\n')
        n--;
    tail[n] = '\0';
    for (size_t k = 0; k < n; k++) {
        if (tail[k] == '\n')
            tail[k] = '|';
        else if ((unsigned char)tail[k] < 0x20)
            tail[k] = ' ';
    }
}

static int fail(const struct server_start *s, uint64_t log_from, struct tm_err *err)
{
    /* the reason in front, so that cutting a long message cuts the log, not the reason */
    char tail[TM_ERR_MSG_MAX / 2];
    char *const stop[] = {word("stop"), word("-m"), word("immediate"),
                          word("-w"),   word("-t"), word(STOP_TIMEOUT_S),
                          NULL};
    struct tm_err ignored = {0};
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    (void)!run_pg_ctl(s, stop, 60000, &out, &ignored);
    log_tail(s->log_file, log_from, tail, sizeof(tail));
    struct tm_err first = *err;
    return tm_err_set(err, first.code, "%.200s; the log '%s' ends with: %s", first.msg, s->log_file,
                      tail[0] != '\0' ? tail : "(nothing)");
}

/* Connections and writes alike. What pg_control said before the start is gone by the time the pid
 * file says "ready": recovery begins with its own state. */
static bool accepts_writes(const struct pidfile *p, int dir_fd)
{
    struct control_file control;
    struct tm_err ignored = {0};
    return strncmp(p->lines[PIDFILE_LINES - 1], "ready", 5) == 0 &&
           control_file_read(dir_fd, &control, NULL, &ignored) == 0 &&
           control.state == CONTROL_IN_PRODUCTION;
}

static int wait_ready(const struct server_start *s, int dir_fd, int64_t deadline,
                      struct tm_err *err)
{
    for (;;) {
        struct pidfile p;
        bool there = pidfile_read(dir_fd, &p);
        if (there && accepts_writes(&p, dir_fd))
            return 0;
        if (!there || p.pid <= 0 || (kill(p.pid, 0) < 0 && errno == ESRCH))
            return tm_err_set(err, TM_E_UNAVAILABLE, "the server on '%s' ended during recovery",
                              s->data_dir);
        if (clock_mono_us() >= deadline)
            return tm_err_set(err, TM_E_TIMEOUT, "the server on '%s' was not ready within %u ms",
                              s->data_dir, s->timeout_ms);
        struct timespec pause = {.tv_nsec = POLL_US * 1000};
        (void)nanosleep(&pause, NULL);
    }
}

int server_start(const struct server_start *s, struct tm_err *err)
{
    char seconds[16];
    struct stat st;
    int64_t deadline = clock_mono_us() + (int64_t)s->timeout_ms * USEC_PER_MSEC;
    (void)snprintf(seconds, sizeof(seconds), "%u", s->timeout_ms / 1000 + 1);
    char *const start[] = {word("start"), word("-w"), word("-s"),        word("-t"),
                           seconds,       word("-l"), word(s->log_file), NULL};
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    TM_CLEANUP(closep) int dir_fd = open(s->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return tm_err_errno(err, errno, "cannot open '%s'", s->data_dir);
    uint64_t log_from = stat(s->log_file, &st) == 0 ? (uint64_t)st.st_size : 0;
    int rc = run_pg_ctl(s, start, s->timeout_ms + 5000, &out, err);
    if (rc < 0)
        (void)tm_err_prefix(err, "cannot start the server on '%s'", s->data_dir);
    if (rc >= 0)
        rc = wait_ready(s, dir_fd, deadline, err);
    return rc < 0 ? fail(s, log_from, err) : 0;
}
