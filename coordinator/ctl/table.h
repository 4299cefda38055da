#ifndef TM_COORDINATOR_CTL_TABLE_H
#define TM_COORDINATOR_CTL_TABLE_H
/*
 * Columns of text, as wide as they need to be, two spaces apart; an empty cell reads "-".
 *
 *     table_init(&t, headings, count) → table_row(&t) → table_cell × count … → table_print → release
 */
#include <stdio.h>

#include "common/buf.h"
#include "common/err.h"

#define TABLE_COLUMNS_MAX 16

struct table {
    const char *const *headings;
    size_t columns;
    struct buf cells; /* NUL-terminated texts, row by row */
    size_t cell_count;
};

void table_init(struct table *t, const char *const *headings, size_t columns);
int table_cell(struct table *t, struct tm_err *err, const char *fmt, ...) TM_PRINTF(3, 4) TM_WUR;
/* Short rows are an assertion failure: every row has all its cells. */
void table_print(const struct table *t, FILE *out);
void table_release(struct table *t);

#endif
