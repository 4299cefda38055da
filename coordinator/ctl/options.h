#ifndef TM_COORDINATOR_CTL_OPTIONS_H
#define TM_COORDINATOR_CTL_OPTIONS_H
/*
 * Command-line words by tables: `--name VALUE`, `--name=VALUE`, `-x VALUE`, flags, and what is left.
 *
 *     struct option_value values[TM_ARRAY_LEN(table)];
 *     options_parse(table, TM_ARRAY_LEN(table), argc, argv, values, &rest, err)
 *
 * Unknown options are TM_E_INVALID with a suggestion. "--" ends options. Values are borrowed from
 * argv. A repeatable option keeps up to OPTION_REPEAT_MAX values.
 */
#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

#define OPTION_REPEAT_MAX 32
#define OPTION_WORDS_MAX  16

struct option_row {
    const char *name;  /* "storage", without dashes */
    char letter;       /* 'o', or 0 */
    const char *value; /* what stands for the value in help; NULL = a flag */
    const char *help;
    bool repeat;
};

struct option_value {
    bool given;
    const char *text; /* of the last one */
    const char *all[OPTION_REPEAT_MAX];
    size_t count;
};

struct option_words {
    const char *words[OPTION_WORDS_MAX];
    size_t count;
};

int options_parse(const struct option_row *rows, size_t count, int argc, char *const *argv,
                  struct option_value *ret_values, struct option_words *ret_words,
                  struct tm_err *err) TM_WUR;

#endif
