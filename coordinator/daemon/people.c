/*
 * Where the control socket meets the brain.
 */
#include "coordinator/control/control.h"

#include "coordinator/daemon/internal.h"

static const struct brain *look(void *arg)
{
    const struct coordinator *c = arg;

    return c->brain;
}

static void feed(void *arg, const struct brain_event *event)
{
    coordinator_feed(arg, event);
}

int coordinator_control_start(struct coordinator *c, struct tm_err *err)
{
    const struct control_config config = {
        .path = c->config.control_socket,
        .group = CONTROL_GROUP,
        .version = TM_VERSION,
        .brain = look,
        .feed = feed,
        .arg = c,
        .secrets = c->secrets,
    };

    return control_new(c->loop, &config, &c->control, err);
}

void coordinator_control_answer(struct coordinator *c, const struct brain_action *action)
{
    if (c->control && action->answer.log)
        control_answer_log(c->control, action->answer.cmd, action->answer.log,
                           action->answer.cluster, action->answer.tenant);
    else if (c->control && action->answer.probe)
        control_answer_probe(c->control, action->answer.cmd, action->answer.probe);
    else if (c->control && action->answer.rebuilt)
        control_answer_rebuilt(c->control, action->answer.cmd, action->answer.rebuilt);
    else if (c->control)
        control_answer(c->control, action->answer.cmd, action->answer.outcome, action->answer.err);
}

void coordinator_control_stop(struct coordinator *c)
{
    control_free(TM_TAKE(c->control));
}
