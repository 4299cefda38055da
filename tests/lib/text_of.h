#ifndef TM_TESTS_LIB_TEXT_OF_H
#define TM_TESTS_LIB_TEXT_OF_H
/* Text that a test expects, put together where it is compared. */
#include <stdarg.h>
#include <stdio.h>

#include "common/cleanup.h"

/* Formatted; valid until the fourth call from here. */
static TM_UNUSED TM_PRINTF(1, 2) const char *text_of(const char *fmt, ...)
{
    static char texts[4][8192];
    static size_t next;
    char *text = texts[next++ % TM_ARRAY_LEN(texts)];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(texts[0]), fmt, args);
    va_end(args);
    return text;
}

#endif
