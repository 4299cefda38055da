#ifndef TM_COORDINATOR_CTL_PROGRESS_H
#define TM_COORDINATOR_CTL_PROGRESS_H
/*
 * How far a job is, in one line. Pure: fed with numbers and times, gives text.
 *
 *     progress_init → progress_feed (as often as there is news) → progress_line | progress_bar
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRESS_LINE_MAX 256

struct progress {
    uint64_t ranges_done, ranges_total;
    uint64_t bytes_done, bytes_total;
    double bytes_per_second; /* smoothed; 0 = not known yet */
    int64_t first_us;        /* 0 = not fed yet */
    uint64_t first_bytes;
    int64_t fed_us;
    uint64_t fed_bytes;
};

void progress_init(struct progress *p);
void progress_feed(struct progress *p, uint64_t ranges_done, uint64_t ranges_total,
                   uint64_t bytes_done, uint64_t bytes_total, int64_t now_us);
/* "12/40 ranges, 1.5 GiB of 4.9 GiB, 410.2 MiB/s, 8s left" */
char *progress_line(const struct progress *p, char text[PROGRESS_LINE_MAX]);
/* "[#########           ] 30 % " and the line */
char *progress_bar(const struct progress *p, char text[PROGRESS_LINE_MAX]);

#endif
