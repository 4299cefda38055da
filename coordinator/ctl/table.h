#ifndef TM_COORDINATOR_CTL_TABLE_H
#define TM_COORDINATOR_CTL_TABLE_H
/*
 * Columns of text, as wide as they need to be, two spaces apart; an empty cell reads "-".
 *
 *     text_table_init(&t, headings, count) → text_table_row(&t) → text_table_cell × count … → text_table_print → release
 */
#include <stdio.h>

#include "common/buf.h"
#include "common/err.h"

#define TABLE_COLUMNS_MAX 16

struct text_table {
    const char *const *headings;
    size_t columns;
    struct buf cells; /* NUL-terminated texts, row by row */
    size_t cell_count;
};

void text_table_init(struct text_table *t, const char *const *headings, size_t columns);
int text_table_cell(struct text_table *t, struct tm_err *err, const char *fmt, ...)
    TM_PRINTF(3, 4) TM_WUR;
/* Short rows are an assertion failure: every row has all its cells. */
void text_table_print(const struct text_table *t, FILE *out);
void text_table_release(struct text_table *t);

#endif
