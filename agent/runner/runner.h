#ifndef TM_AGENT_RUNNER_RUNNER_H
#define TM_AGENT_RUNNER_RUNNER_H
/*
 * The runner: a child process that moves the bytes of one job. The agent starts itself with
 * --runner and one end of a socket pair as file descriptor 3; frames are told in frames.h. It dies
 * with the agent (parent-death signal, and end of file on the socket), runs at idle I/O priority,
 * and keeps nothing that a kill at any moment could leave wrong: what counts is in storage and in
 * the frames that were answered.
 *
 *   control thread   reads frames, keeps the queue filled, reports every 500 ms
 *   worker threads   one range at a time each, with their own buffers and zstd context
 *   log thread       streams the log into the backup (lead)
 *
 * Exit status: 0 after stop or end of file, 1 when the socket broke or a frame made no sense.
 */
#include "common/err.h"

#define RUNNER_FD          3 /* where the agent puts its end of the socket pair */
#define RUNNER_THREADS_MAX 8 /* so that all of it stays below 64 MiB */
#define RUNNER_PROGRESS_MS 500

/* `tidemark-agent --runner`: prepares the process (signals, priority, memory), runs until told to
 * stop, and returns the exit status. */
int runner_main(int argc, char **argv);

/* The runner without the process: serves `fd` (a stream socket, taken over) until stop or end of
 * file. For tests, which call it in a thread. */
int runner_serve(int fd, struct tm_err *err) TM_WUR;

#endif
