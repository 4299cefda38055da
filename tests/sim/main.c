/*
 * build/tests/sim/sim --seeds N [--from S]     runs seeds S … S+N-1, prints counts; 1 on a violation
 *                     --seed S --verbose       replays one, telling everything
 *                     --plant NAME             with a bug planted on purpose
 *                     --real                   every run with the real storage formats, not some
 *                     --plants N               every plant must be found within N seeds
 */
#include "tests/sim/sim.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

#define STEPS_MAX                                                                                  \
    UINT64_C(500000) /* in one run; a brain that wants to be woken at once, for ever, makes more */
#define SETTLE_US SEC(200) /* after the faults stop, all jobs must have come to their end */

struct plant {
    const char *name;
    enum brain_plant coord;
    enum agent_plant agent;
    enum sim_plant sim;
};

static const struct plant plants[] = {
    {"accept-stale", BRAIN_PLANT_ACCEPT_STALE, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"no-fence", BRAIN_PLANT_NO_FENCE, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"answer-early", BRAIN_PLANT_ANSWER_EARLY, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"double-count", BRAIN_PLANT_DOUBLE_COUNT, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"no-release", BRAIN_PLANT_NO_RELEASE, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"forget-restart", BRAIN_PLANT_FORGET_RESTART, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"adopt-nothing", BRAIN_PLANT_ADOPT_NOTHING, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"complete-early", BRAIN_PLANT_COMPLETE_EARLY, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"ignore-seen", BRAIN_PLANT_IGNORE_SEEN, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"drop-results", BRAIN_PLANT_NONE, AGENT_PLANT_DROP_RESULTS, SIM_PLANT_NONE},
    {"same-attempt", BRAIN_PLANT_SAME_ATTEMPT, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"old-writer", BRAIN_PLANT_NONE, AGENT_PLANT_OLD_WRITER, SIM_PLANT_NONE},
    {"forget-jobs", BRAIN_PLANT_NONE, AGENT_PLANT_FORGET_JOBS, SIM_PLANT_NONE},
    {"deaf", BRAIN_PLANT_NONE, AGENT_PLANT_DEAF, SIM_PLANT_NONE},
    {"two-runners", BRAIN_PLANT_NONE, AGENT_PLANT_TWO_RUNNERS, SIM_PLANT_NONE},
    {"hold-no-record", BRAIN_PLANT_NONE, AGENT_PLANT_NO_RECORD, SIM_PLANT_NONE},
    {"hold-drop-failed", BRAIN_PLANT_NONE, AGENT_PLANT_DROP_FAILED, SIM_PLANT_NONE},
    {"other-hold", BRAIN_PLANT_NONE, AGENT_PLANT_OTHER_HOLD, SIM_PLANT_NONE},
    {"blind", BRAIN_PLANT_NONE, AGENT_PLANT_BLIND, SIM_PLANT_NONE},
    {"own-only", BRAIN_PLANT_NONE, AGENT_PLANT_OWN_ONLY, SIM_PLANT_NONE},
    {"plan-early", BRAIN_PLANT_NONE, AGENT_PLANT_PLAN_EARLY, SIM_PLANT_NONE},
    {"stored-late", BRAIN_PLANT_STORED_LATE, AGENT_PLANT_PLAN_EARLY, SIM_PLANT_NONE},
    {"whole-early", BRAIN_PLANT_WHOLE_EARLY, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"leave-part", BRAIN_PLANT_LEAVE_PART, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"far-part", BRAIN_PLANT_FAR_PART, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"stop-first", BRAIN_PLANT_STOP_FIRST, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"stopped-early", BRAIN_PLANT_STOPPED_EARLY, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"truncate-first", BRAIN_PLANT_TRUNCATE_FIRST, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"no-join", BRAIN_PLANT_NO_JOIN, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"expire-committed", BRAIN_PLANT_EXPIRE_COMMITTED, AGENT_PLANT_NONE, SIM_PLANT_NONE},
    {"early-checkpoint", BRAIN_PLANT_NONE, AGENT_PLANT_NONE, SIM_PLANT_EARLY_CHECKPOINT},
    {"no-proof", BRAIN_PLANT_NONE, AGENT_PLANT_NONE, SIM_PLANT_NO_PROOF},
};

static void on_start(struct world *w, struct sim_arg *arg)
{
    (void)arg;
    coord_start(w, 0);
    for (uint32_t at = 0; at < w->profile.agents; at++) {
        if (w->profile.late_us == 0 || w->agents[at].tenant == source_tenant(0))
            agent_start(w, at);
        else
            sim_at(w, w->profile.late_us, on_agent_back)->a = at;
    }
}

struct how {
    bool verbose;
    bool real;
};

/* True: nothing was violated. */
static bool run(uint64_t seed, const struct how *how, const struct plant *plant,
                struct sim_counts *counts, char *violation, size_t size)
{
    static struct world world;
    struct world *w = &world;
    memset(w, 0, sizeof(*w));
    w->seed = seed;
    w->verbose = how->verbose;
    w->always_real = how->real;
    w->coord_plant = plant != NULL ? plant->coord : BRAIN_PLANT_NONE;
    w->agent_plant = plant != NULL ? plant->agent : AGENT_PLANT_NONE;
    w->sim_plant = plant != NULL ? plant->sim : SIM_PLANT_NONE;
    w->rng[0] = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    w->rng[1] = ~seed * UINT64_C(0xbf58476d1ce4e5b9) + 7;
    for (int warm = 0; warm < 8; warm++)
        (void)sim_random(w);
    faults_plan(w);
    for (uint32_t at = 0; at < w->profile.agents; at++) {
        struct sim_agent *a = &w->agents[at];
        (void)snprintf(a->node, sizeof(a->node), "n%u", at);
        a->slow = 1;
    }
    source_start(w);
    sim_at(w, 0, on_start);
    uint64_t until_us = w->profile.faults_until_us + SETTLE_US;
    uint64_t checked_us = 0;
    while (w->now_us < until_us && !w->violated && sim_step(w)) {
        if (w->counts.steps > STEPS_MAX)
            sim_violate(w, "%" PRIu64 " events in %.1f s", w->counts.steps,
                        (double)w->now_us / 1e6);
        if (w->now_us < w->profile.faults_until_us + FAULTS_CALM_US + SEC(1) ||
            w->now_us < checked_us + SEC(1))
            continue;
        checked_us = w->now_us;
        if (oracle_settled(w))
            break;
    }
    oracle_end(w);
    counts->steps += w->counts.steps;
    counts->messages += w->counts.messages;
    counts->completed += w->counts.completed;
    counts->failed += w->counts.failed;
    counts->faults += w->counts.faults;
    memcpy(violation, w->violation, TM_MIN(size, sizeof(w->violation)));
    bool good = !w->violated;
    world_release(w);
    return good;
}

static int run_many(uint64_t from, uint64_t seeds, const struct how *how, const struct plant *plant)
{
    struct sim_counts counts = {0};
    char violation[512];
    for (uint64_t seed = from; seed < from + seeds; seed++) {
        if (run(seed, how, plant, &counts, violation, sizeof(violation)))
            continue;
        (void)printf("seed %" PRIu64 ": %s\n", seed, violation);
        (void)printf("replay with: sim --seed %" PRIu64 "%s%s --verbose\n", seed,
                     plant != NULL ? " --plant " : "", plant != NULL ? plant->name : "");
        return 1;
    }
    (void)printf("%" PRIu64 " seeds: %" PRIu64 " jobs Complete, %" PRIu64 " Failed, %" PRIu64
                 " faults, %" PRIu64 " messages, %" PRIu64 " events, nothing violated\n",
                 seeds, counts.completed, counts.failed, counts.faults, counts.messages,
                 counts.steps);
    return 0;
}

static int run_plants(uint64_t seeds)
{
    int missed = 0;
    for (size_t at = 0; at < TM_ARRAY_LEN(plants); at++) {
        struct sim_counts counts = {0};
        char violation[512];
        static const struct how quietly = {.verbose = false};
        uint64_t seed = 0;
        while (seed < seeds &&
               run(seed, &quietly, &plants[at], &counts, violation, sizeof(violation)))
            seed++;
        if (seed < seeds) {
            (void)printf("plant %-16s found at seed %" PRIu64 ": %s\n", plants[at].name, seed,
                         violation);
        } else {
            (void)printf("plant %-16s NOT FOUND in %" PRIu64 " seeds\n", plants[at].name, seeds);
            missed++;
        }
    }
    return missed > 0 ? 1 : 0;
}

static const struct plant *plant_find(const char *name)
{
    for (size_t at = 0; at < TM_ARRAY_LEN(plants); at++) {
        if (strcmp(plants[at].name, name) == 0)
            return &plants[at];
    }
    (void)fprintf(stderr, "sim: no plant '%s'; there are:", name);
    for (size_t at = 0; at < TM_ARRAY_LEN(plants); at++)
        (void)fprintf(stderr, " %s", plants[at].name);
    (void)fprintf(stderr, "\n");
    exit(2);
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: sim --seeds N [--from S] | --seed S [--verbose] | --plants N   "
                          "[--plant NAME] [--real]\n");
    return 2;
}

static uint64_t number_of(const char *text)
{
    return strtoull(text, NULL, 10);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 'n'}, {"from", required_argument, NULL, 'f'},
        {"seed", required_argument, NULL, 's'},  {"verbose", no_argument, NULL, 'v'},
        {"plant", required_argument, NULL, 'p'}, {"plants", required_argument, NULL, 'a'},
        {"real", no_argument, NULL, 'r'},        {NULL, 0, NULL, 0},
    };
    uint64_t from = 0;
    uint64_t seeds = 0;
    uint64_t plant_seeds = 0;
    struct how how = {.verbose = false};
    const struct plant *plant = NULL;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'n':
            seeds = number_of(optarg);
            break;
        case 'f':
            from = number_of(optarg);
            break;
        case 's':
            from = number_of(optarg);
            seeds = 1;
            break;
        case 'v':
            how.verbose = true;
            break;
        case 'p':
            plant = plant_find(optarg);
            break;
        case 'r':
            how.real = true;
            break;
        case 'a':
            plant_seeds = number_of(optarg);
            break;
        default:
            return usage();
        }
    }
    if (plant_seeds > 0)
        return run_plants(plant_seeds);
    if (seeds == 0)
        return usage();
    return run_many(from, seeds, &how, plant);
}
