#ifndef TM_COMMON_BANNED_H
#define TM_COMMON_BANNED_H
/*
 * Forced into every translation unit by the Makefile: calls that cannot be used safely do not
 * compile. Use snprintf, memcpy, strnlen, strtok_r, gmtime_r, the parsers in common/, instead.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* clang's <stdio.h> makes these macros when _FORTIFY_SOURCE is set */
#undef sprintf
#undef vsprintf

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets strtok
#pragma GCC poison gmtime localtime ctime asctime atoi atol atoll

#endif
