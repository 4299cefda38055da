/* Text tables. Nothing can fail but memory. */
#include "coordinator/ctl/table.h"

#include <assert.h>
#include <stdarg.h>

void text_table_init(struct text_table *t, const char *const *headings, size_t columns)
{
    assert(columns > 0 && columns <= TABLE_COLUMNS_MAX);
    *t = (struct text_table){.headings = headings, .columns = columns, .cells = BUF_INIT};
}

int text_table_cell(struct text_table *t, struct tm_err *err, const char *fmt, ...)
{
    char text[1200];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    const char *cell = text[0] == '\0' ? "-" : text;
    int result = buf_append(&t->cells, cell, strlen(cell) + 1, err);
    if (result == 0)
        t->cell_count++;
    return result;
}

/* Bytes that start a character: what a terminal gives a column to. */
static int width_of(const char *text)
{
    int width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

static void print_cell(const char *text, int width, bool last, FILE *out)
{
    (void)fprintf(out, "%s%*s", text, last ? 0 : width - width_of(text) + 2, "");
    if (last)
        (void)fputc('\n', out);
}

void text_table_print(const struct text_table *t, FILE *out)
{
    assert(t->cell_count % t->columns == 0);
    int widths[TABLE_COLUMNS_MAX] = {0};
    for (size_t n = 0; n < t->columns; n++)
        widths[n] = width_of(t->headings[n]);
    const char *cell = (const char *)t->cells.data;
    for (size_t n = 0; n < t->cell_count; n++, cell += strlen(cell) + 1)
        widths[n % t->columns] = TM_MAX(widths[n % t->columns], width_of(cell));
    for (size_t n = 0; n < t->columns; n++)
        print_cell(t->headings[n], widths[n], n + 1 == t->columns, out);
    cell = (const char *)t->cells.data;
    for (size_t n = 0; n < t->cell_count; n++, cell += strlen(cell) + 1)
        print_cell(cell, widths[n % t->columns], (n + 1) % t->columns == 0, out);
}

void text_table_release(struct text_table *t)
{
    buf_release(&t->cells);
}
