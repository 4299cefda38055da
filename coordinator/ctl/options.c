/* Command-line options by tables. Failure modes: unknown option (with a suggestion), a value that is
 * missing or not wanted, too many words. */
#include "coordinator/ctl/options.h"

#include <string.h>

#include "common/suggest.h"

static int unknown(const struct option_row *rows, size_t count, const char *name, size_t len,
                   struct tm_err *err)
{
    char word[64];
    (void)snprintf(word, sizeof(word), "%.*s", (int)TM_MIN(len, sizeof(word) - 1), name);
    struct suggest s;
    suggest_init(&s, word);
    for (size_t n = 0; n < count; n++)
        suggest_offer(&s, rows[n].name);
    const char *best = suggest_best(&s);
    if (best != NULL)
        return tm_err_set(err, TM_E_INVALID, "unknown option '--%s', did you mean '--%s'?", word,
                          best);
    return tm_err_set(err, TM_E_INVALID, "unknown option '--%s'", word);
}

static int keep(const struct option_row *row, struct option_value *value, const char *text,
                struct tm_err *err)
{
    if (value->given && !row->repeat)
        return tm_err_set(err, TM_E_INVALID, "option '--%s' is given twice", row->name);
    if (value->count == OPTION_REPEAT_MAX)
        return tm_err_set(err, TM_E_LIMIT, "option '--%s' is given more than %d times", row->name,
                          OPTION_REPEAT_MAX);
    value->given = true;
    value->text = text;
    value->all[value->count++] = text;
    return 0;
}

static size_t find_long(const struct option_row *rows, size_t count, const char *name, size_t len)
{
    for (size_t n = 0; n < count; n++)
        if (strlen(rows[n].name) == len && memcmp(rows[n].name, name, len) == 0)
            return n;
    return count;
}

static size_t find_letter(const struct option_row *rows, size_t count, char letter)
{
    for (size_t n = 0; n < count; n++)
        if (rows[n].letter == letter)
            return n;
    return count;
}

int options_parse(const struct option_row *rows, size_t count, int argc, char *const *argv,
                  struct option_value *ret_values, struct option_words *ret_words,
                  struct tm_err *err)
{
    bool words_only = false;
    memset(ret_values, 0, count * sizeof(*ret_values));
    memset(ret_words, 0, sizeof(*ret_words));
    for (int at = 0; at < argc; at++) {
        const char *word = argv[at];
        if (words_only || word[0] != '-' || word[1] == '\0') {
            if (ret_words->count == OPTION_WORDS_MAX)
                return tm_err_set(err, TM_E_INVALID, "too many words");
            ret_words->words[ret_words->count++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            words_only = true;
            continue;
        }
        bool is_long = word[1] == '-';
        const char *name = word + (is_long ? 2 : 1);
        const char *equals = is_long ? strchr(name, '=') : NULL;
        size_t len = equals != NULL ? (size_t)(equals - name) : strlen(name);
        size_t row =
            is_long ? find_long(rows, count, name, len) : find_letter(rows, count, name[0]);
        if (row == count) {
            if (is_long)
                return unknown(rows, count, name, len, err);
            return tm_err_set(err, TM_E_INVALID, "unknown option '-%c'", name[0]);
        }
        const char *text = equals != NULL ? equals + 1 : !is_long && len > 1 ? name + 1 : NULL;
        if (rows[row].value == NULL && text != NULL)
            return tm_err_set(err, TM_E_INVALID, "option '--%s' takes no value", rows[row].name);
        if (rows[row].value != NULL && text == NULL) {
            if (at + 1 == argc)
                return tm_err_set(err, TM_E_INVALID, "option '--%s' wants a value: %s",
                                  rows[row].name, rows[row].value);
            text = argv[++at];
        }
        int result = keep(&rows[row], &ret_values[row], text, err);
        if (result < 0)
            return result;
    }
    return 0;
}
