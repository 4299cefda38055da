#ifndef TM_COMMON_UTF8_H
#define TM_COMMON_UTF8_H
/*
 * UTF-8, for text that comes from elsewhere: file names are any bytes, and what is cut to fit may end
 * inside a character.
 *
 * Threads: no state.
 */
#include <stddef.h>
#include <stdint.h>

/* Length of the sequence at p, of which `left` (at least 1) bytes are there; 0 when it is none
 * (overlong, surrogate, above U+10FFFF, cut). */
size_t utf8_sequence(const uint8_t *p, size_t left);

/* Makes text one line of UTF-8, in place: control characters and bytes that belong to no sequence
 * become '?', one for each byte; a sequence cut off by the end of the text goes. */
void utf8_clean(char *text);

#endif
