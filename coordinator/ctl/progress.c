/* Progress as text. Rates are smoothed over a few seconds, so that the time left does not jump. */
#include "coordinator/ctl/progress.h"

#include <stdio.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/size.h"

#define BAR_WIDTH       30
#define MEASURE_SECONDS 0.2
#define SMOOTH_SECONDS  5.0

void progress_init(struct progress *p)
{
    *p = (struct progress){0};
}

void progress_feed(struct progress *p, uint64_t ranges_done, uint64_t ranges_total,
                   uint64_t bytes_done, uint64_t bytes_total, int64_t now_us)
{
    p->ranges_done = ranges_done;
    p->ranges_total = ranges_total;
    p->bytes_done = bytes_done;
    p->bytes_total = TM_MAX(bytes_total, bytes_done); /* a database may grow behind its plan */
    if (p->first_us == 0) {
        p->first_us = now_us;
        p->first_bytes = bytes_done;
        p->fed_us = now_us;
        p->fed_bytes = bytes_done;
        return;
    }
    double age = (double)(now_us - p->first_us) / 1e6;
    double seconds = (double)(now_us - p->fed_us) / 1e6;
    if (seconds < MEASURE_SECONDS)
        return;
    double rate = bytes_done > p->fed_bytes ? (double)(bytes_done - p->fed_bytes) / seconds : 0.0;
    double weight = seconds / (seconds + SMOOTH_SECONDS);
    if (age <
        SMOOTH_SECONDS) /* numbers come in steps: the whole time says more than the last one */
        p->bytes_per_second =
            bytes_done > p->first_bytes ? (double)(bytes_done - p->first_bytes) / age : 0.0;
    else
        p->bytes_per_second = p->bytes_per_second * (1.0 - weight) + rate * weight;
    p->fed_us = now_us;
    p->fed_bytes = bytes_done;
}

char *progress_line(const struct progress *p, char text[PROGRESS_LINE_MAX])
{
    char done[SIZE_TEXT_MAX];
    char total[SIZE_TEXT_MAX];
    char rate[SIZE_TEXT_MAX];
    (void)size_format(p->bytes_done, done);
    (void)size_format(p->bytes_total, total);
    int used = p->ranges_total > 0 ? snprintf(text, PROGRESS_LINE_MAX, "%llu/%llu ranges, %s of %s",
                                              (unsigned long long)p->ranges_done,
                                              (unsigned long long)p->ranges_total, done, total)
                                   : snprintf(text, PROGRESS_LINE_MAX, "%s of %s", done, total);
    if (p->bytes_per_second < 1.0 || used < 0 || p->bytes_done == p->bytes_total)
        return text;
    uint64_t left = (uint64_t)((double)(p->bytes_total - p->bytes_done) / p->bytes_per_second);
    (void)snprintf(text + used, PROGRESS_LINE_MAX - (size_t)used, ", %s/s, %llu:%02llu left",
                   size_format((uint64_t)p->bytes_per_second, rate),
                   (unsigned long long)(left / 60), (unsigned long long)(left % 60));
    return text;
}

char *progress_bar(const struct progress *p, char text[PROGRESS_LINE_MAX])
{
    char line[PROGRESS_LINE_MAX];
    double part = p->bytes_total > 0 ? (double)p->bytes_done / (double)p->bytes_total : 0.0;
    int filled = (int)(part * BAR_WIDTH);
    char bar[BAR_WIDTH + 1];
    for (int n = 0; n < BAR_WIDTH; n++)
        bar[n] = n < filled ? '#' : ' ';
    bar[BAR_WIDTH] = '\0';
    (void)snprintf(text, PROGRESS_LINE_MAX, "[%s] %3d %%  %.200s", bar, (int)(part * 100),
                   progress_line(p, line));
    return text;
}
