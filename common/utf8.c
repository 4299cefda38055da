/* UTF-8: sequences told from other bytes, text made fit to be sent and printed. Cannot fail. */
#include "common/utf8.h"

#include <stdbool.h>
#include <string.h>

size_t utf8_sequence(const uint8_t *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || left < len)
        return 0;
    uint8_t low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t at = 2; at < len; at++) {
        if (p[at] < 0x80 || p[at] > 0xbf)
            return 0;
    }
    return len;
}

static bool is_control(const uint8_t *p, size_t len)
{
    if (len == 1)
        return p[0] < 0x20 || p[0] == 0x7f;
    return len == 2 && p[0] == 0xc2 && p[1] < 0xa0; /* U+0080 to U+009F, which terminals obey too */
}

/* Nothing but a lead byte and what follows it, up to the end of the text. */
static bool is_cut(const uint8_t *p, size_t left)
{
    size_t want = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || left >= want)
        return false;
    for (size_t at = 1; at < left; at++) {
        if ((p[at] & 0xc0) != 0x80)
            return false;
    }
    return true;
}

void utf8_clean(char *text)
{
    uint8_t *p = (uint8_t *)text;
    size_t len = strlen(text);
    for (size_t at = 0; at < len;) {
        size_t step = utf8_sequence(p + at, len - at);
        if (step == 0 && is_cut(p + at, len - at)) {
            p[at] = 0;
            return;
        }
        if (step == 0 || is_control(p + at, step)) {
            step = step == 0 ? 1 : step;
            memset(p + at, '?', step);
        }
        at += step;
    }
}
