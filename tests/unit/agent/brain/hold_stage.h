#ifndef TM_TESTS_UNIT_AGENT_BRAIN_HOLD_STAGE_H
#define TM_TESTS_UNIT_AGENT_BRAIN_HOLD_STAGE_H
/* The stage with an instance that can hold log. */
#include "tests/unit/agent/brain/stage.h"

static struct agent_instance instance = {.tenant = "main",
                                         .engine = "mock",
                                         .caps = 1, /* it can hold */
                                         .data_dir = "/data",
                                         .conninfo = "host=/run"};

static int setup_holding(void **state)
{
    struct agent_brain_config config = {.instances = &instance, .instance_count = 1};
    *state = stage_new(&config);
    return 0;
}

#endif
