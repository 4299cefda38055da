/*
 * A fleet of agents for one coordinator.
 *
 *     fleet --url URL --cluster NAME [--agents N] [--ranges N] [--rate N] [--blob BYTES] [--keys DIR]
 *           [--first N --all N] [--samples FILE]
 *
 * N agents node-0000 (beside the primary), node-0001, … (beside standbys) connect and do what the
 * coordinator wants, until SIGTERM; then one line of JSON tells what was done and how long requests
 * took, and the exit status is 1 when anything was not as it must be. With --first the first one
 * has this number, so that several processes make up a cluster of --all agents. SIGUSR1 forgets the
 * times so far. A job's plan has --ranges ranges, of which all agents together do --rate a second.
 */
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/parse.h"
#include "tests/bench/fleet/fleet.h"

void fleet_die(const char *what, const struct tm_err *err)
{
    (void)fprintf(stderr, "fleet: %s%s%s\n", what, err != NULL ? ": " : "",
                  err != NULL ? err->msg : "");
    _exit(2);
}

static void on_signal(int signo, void *arg)
{
    struct fleet *fleet = arg;
    if (signo == SIGUSR1)
        figures_forget(&fleet->figures);
    else
        loop_exit(fleet->loop, 0);
}

static uint32_t number(const char *name, const char *text, uint64_t max)
{
    uint64_t value;
    struct tm_err err;
    if (parse_u64_in(text, 0, max, &value, &err) < 0) {
        (void)tm_err_prefix(&err, "--%s", name);
        fleet_die("options", &err);
    }
    return (uint32_t)value;
}

static void read_options(int argc, char **argv, struct fleet_options *o)
{
    static const struct option known[] = {
        {"url", required_argument, NULL, 'u'},
        {"cluster", required_argument, NULL, 'c'},
        {"agents", required_argument, NULL, 'a'},
        {"ranges", required_argument, NULL, 'n'},
        {"rate", required_argument, NULL, 'r'},
        {"blob", required_argument, NULL, 'b'},
        {"keys", required_argument, NULL, 'k'},
        {"first", required_argument, NULL, 'f'},
        {"all", required_argument, NULL, 'l'},
        {"samples", required_argument, NULL, 's'},
        {NULL, 0, NULL, 0},
    };
    int c;
    *o = (struct fleet_options){.members = 1, .ranges = 100, .blob_bytes = 160};
    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (c) {
        case 'u':
            o->url = optarg;
            break;
        case 'c':
            o->cluster = optarg;
            break;
        case 'a':
            o->members = number("agents", optarg, FLEET_MEMBERS_MAX);
            break;
        case 'n':
            o->ranges = number("ranges", optarg, 1u << 24);
            break;
        case 'r':
            o->rate = number("rate", optarg, 1000000);
            break;
        case 'b':
            o->blob_bytes = number("blob", optarg, WIRE_RESULT_MAX);
            break;
        case 'f':
            o->first = number("first", optarg, FLEET_MEMBERS_MAX);
            break;
        case 'l':
            o->all = number("all", optarg, FLEET_MEMBERS_MAX);
            break;
        case 's':
            o->samples = optarg;
            break;
        case 'k':
            o->keys_dir = optarg;
            break;
        default:
            _exit(2);
        }
    }
    o->all = TM_MAX(o->all, o->members);
    if (o->url == NULL || o->cluster == NULL || o->members == 0 || o->ranges == 0 ||
        o->blob_bytes < CHECK_BLOB_MIN)
        fleet_die("--url, --cluster; at least one agent, one range, blobs of 20 bytes", NULL);
}

int main(int argc, char **argv)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGUSR1, 0};
    static struct fleet fleet = {0};
    struct tm_err err = {0};
    int code = 0;

    read_options(argc, argv, &fleet.options);
    fleet.rng = UINT64_C(0x9e3779b97f4a7c15) + fleet.options.first;
    fleet.urls[0] = fleet.options.url;
    fleet.members = calloc(fleet.options.members, sizeof(struct member *));
    if (fleet.members == NULL)
        fleet_die("memory", NULL);
    (void)fd_limit_raise();
    if (loop_block_signals(&err) < 0 || loop_new(&fleet.loop, &err) < 0 ||
        loop_on_signals(fleet.loop, signals, on_signal, &fleet, &err) < 0)
        fleet_die("start", &err);
    for (uint32_t at = 0; at < fleet.options.members; at++) {
        if (member_new(&fleet, fleet.options.first + at, &fleet.members[at], &err) < 0)
            fleet_die("agent", &err);
    }
    if (loop_run(fleet.loop, &code, &err) < 0)
        fleet_die("loop", &err);
    if (fleet.options.samples != NULL)
        figures_samples(&fleet);
    figures_print(&fleet);
    _exit(fleet.violations > 0 ? 1 : 0); /* a thousand sockets are closed by the kernel */
}
