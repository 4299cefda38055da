/*
 * Edit distance by rows (optimal string alignment); words are short, so nothing is allocated. A
 * candidate is "near" within a third of its length, at least one edit.
 */
#include "common/suggest.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "common/cleanup.h"

static char fold(char c)
{
    return (char)tolower((unsigned char)c);
}

size_t suggest_distance(const char *a, const char *b)
{
    size_t rows[3][SUGGEST_MAX_LEN + 1];
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    if (a_len > SUGGEST_MAX_LEN || b_len > SUGGEST_MAX_LEN)
        return TM_MAX(a_len, b_len);

    for (size_t col = 0; col <= b_len; col++)
        rows[0][col] = col;
    for (size_t row = 1; row <= a_len; row++) {
        size_t *now = rows[row % 3];
        const size_t *above = rows[(row - 1) % 3];
        const size_t *above2 = rows[(row + 1) % 3];
        now[0] = row;
        for (size_t col = 1; col <= b_len; col++) {
            char ca = fold(a[row - 1]);
            char cb = fold(b[col - 1]);
            size_t best = above[col - 1] + (ca == cb ? 0 : 1);
            best = TM_MIN(best, above[col] + 1);
            best = TM_MIN(best, now[col - 1] + 1);
            if (row > 1 && col > 1 && ca == fold(b[col - 2]) && fold(a[row - 2]) == cb)
                best = TM_MIN(best, above2[col - 2] + 1);
            now[col] = best;
        }
    }
    return rows[a_len % 3][b_len];
}

void suggest_init(struct suggest *s, const char *word)
{
    *s = (struct suggest){.word = word};
}

void suggest_offer(struct suggest *s, const char *candidate)
{
    size_t len = strlen(candidate);
    size_t near = TM_MAX(len / 3, (size_t)1);
    size_t distance = suggest_distance(s->word, candidate);
    bool prefix = strlen(s->word) >= 3 && strncasecmp(s->word, candidate, strlen(s->word)) == 0;
    if (prefix) /* "conc" for "concurrency": what is there is right, the rest is missing */
        distance = TM_MIN(distance, near);
    if (distance > near || len > SUGGEST_MAX_LEN)
        return;
    if (s->best == NULL || distance < s->best_distance) {
        s->best = candidate;
        s->best_distance = distance;
    }
}

const char *suggest_best(const struct suggest *s)
{
    return s->best;
}

const char *suggest_from(const char *word, const char *const *candidates, size_t count)
{
    struct suggest s;
    suggest_init(&s, word);
    for (size_t n = 0; n < count; n++)
        suggest_offer(&s, candidates[n]);
    return suggest_best(&s);
}
