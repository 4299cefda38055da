#ifndef TM_COMMON_SUGGEST_H
#define TM_COMMON_SUGGEST_H
/*
 * "Did you mean …?" for misspelt words. Pure, thread safe.
 *
 *     struct suggest s;
 *     suggest_init(&s, "bukcet");
 *     suggest_offer(&s, "bucket"); …
 *     const char *best = suggest_best(&s);   NULL when nothing is near
 */
#include <stddef.h>

#define SUGGEST_MAX_LEN 64 /* longer words are never suggested */

struct suggest {
    const char *word; /* borrowed */
    const char *best; /* borrowed from the caller of suggest_offer */
    size_t best_distance;
};

void suggest_init(struct suggest *s, const char *word);
void suggest_offer(struct suggest *s, const char *candidate);
const char *suggest_best(const struct suggest *s);

/* The same over an array. */
const char *suggest_from(const char *word, const char *const *candidates, size_t count);

/* Edits (insert, delete, change, swap of neighbours; upper and lower case are equal) from a to b.
 */
size_t suggest_distance(const char *a, const char *b);

#endif
