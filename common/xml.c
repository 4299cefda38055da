/*
 * Expat, bounded: a path and the text of each open element.
 *
 * Happy path: start of an element → its name joins the path → text is gathered → end → told, name
 * leaves the path. Anything beyond the bounds stops the parser there.
 */
#include "common/xml.h"

#include <expat.h>
#include <limits.h>

#define TEXT_TOTAL_MAX (XML_TEXT_MAX + XML_DEPTH_MAX)

struct reader {
    XML_Parser parser;
    xml_take *take;
    void *arg;
    struct tm_err *err;
    int result;
    size_t depth;
    size_t path_len;
    size_t path_starts[XML_DEPTH_MAX]; /* path_len before the element at this depth */
    size_t text_starts[XML_DEPTH_MAX]; /* its text begins here, behind those of outer ones */
    size_t text_len;
    char path[XML_PATH_MAX];
    char text[TEXT_TOTAL_MAX];
};

static void stop(struct reader *r, int result)
{
    r->result = result;
    (void)XML_StopParser(r->parser, XML_FALSE);
}

/* A long list has more white space between its entries than fits. */
static void drop_blanks(struct reader *r)
{
    size_t start = r->depth > 0 ? r->text_starts[r->depth - 1] : 0;
    size_t at = start;
    while (at < r->text_len && strchr(" \t\r\n", r->text[at]) != NULL)
        at++;
    if (at == r->text_len)
        r->text_len = start;
}

static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    (void)attributes;
    struct reader *r = arg;
    const char *colon = strrchr(name, ':');
    if (colon != NULL)
        name = colon + 1;
    size_t len = strlen(name);
    if (r->depth == XML_DEPTH_MAX || len + 2 > XML_PATH_MAX - r->path_len) {
        stop(r, tm_err_set(r->err, TM_E_CORRUPT, "XML that is nested too deep"));
        return;
    }
    drop_blanks(r);
    r->path_starts[r->depth] = r->path_len;
    r->text_starts[r->depth] = r->text_len;
    r->depth++;
    if (r->path_len > 0)
        r->path[r->path_len++] = '/';
    memcpy(r->path + r->path_len, name, len + 1);
    r->path_len += len;
}

static void XMLCALL on_text(void *arg, const XML_Char *text, int len)
{
    struct reader *r = arg;
    if (r->result < 0 || r->depth == 0)
        return;
    /* one byte stays free for the NUL */
    if ((size_t)len >= sizeof(r->text) - r->text_len) {
        stop(r, tm_err_set(r->err, TM_E_CORRUPT, "XML with a text of more than %d bytes",
                           XML_TEXT_MAX));
        return;
    }
    memcpy(r->text + r->text_len, text, (size_t)len);
    r->text_len += (size_t)len;
}

static void XMLCALL on_end(void *arg, const XML_Char *name)
{
    (void)name;
    struct reader *r = arg;
    if (r->result < 0)
        return;
    r->depth--;
    r->text[r->text_len] = '\0';
    int result = r->take(r->path, r->text + r->text_starts[r->depth], r->arg, r->err);
    if (result < 0) {
        stop(r, result);
        return;
    }
    r->text_len = r->text_starts[r->depth];
    r->path_len = r->path_starts[r->depth];
    r->path[r->path_len] = '\0';
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system_id,
                               const XML_Char *public_id, int has_internal_subset)
{
    (void)name, (void)system_id, (void)public_id, (void)has_internal_subset;
    struct reader *r = arg;
    stop(r, tm_err_set(r->err, TM_E_CORRUPT, "XML with a document type"));
}

int xml_read(struct slice document, xml_take *take, void *arg, struct tm_err *err)
{
    if (document.len > XML_BYTES_MAX)
        return tm_err_set(err, TM_E_CORRUPT, "XML of more than %zu bytes", XML_BYTES_MAX);
    struct reader r = {.take = take, .arg = arg, .err = err};
    r.parser = XML_ParserCreate(NULL);
    if (r.parser == NULL)
        return tm_err_oom(err);
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, on_start, on_end);
    XML_SetCharacterDataHandler(r.parser, on_text);
    XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
    enum XML_Status status =
        XML_Parse(r.parser, (const char *)document.data, (int)document.len, XML_TRUE);
    int result = r.result;
    if (status != XML_STATUS_OK && result == 0)
        result = XML_GetErrorCode(r.parser) == XML_ERROR_NO_MEMORY
                     ? tm_err_oom(err)
                     : tm_err_set(err, TM_E_CORRUPT, "not well formed XML: %s at byte %ld",
                                  XML_ErrorString(XML_GetErrorCode(r.parser)),
                                  TM_MAX((long)XML_GetCurrentByteIndex(r.parser), 0L));
    XML_ParserFree(r.parser);
    explicit_bzero(r.text, sizeof(r.text)); /* keys pass through here */
    return result;
}

/* ---- one text ---- */

struct wanted {
    const char *path;
    char *text;
    size_t size;
    bool found;
};

static int take_wanted(const char *path, const char *text, void *arg, struct tm_err *err)
{
    (void)err;
    struct wanted *w = arg;
    if (!w->found && strcmp(path, w->path) == 0) {
        (void)snprintf(w->text, w->size, "%s", text);
        w->found = true;
    }
    return 0;
}

bool xml_text(struct slice document, const char *path, char *text, size_t size)
{
    text[0] = '\0';
    struct wanted w = {.path = path, .text = text, .size = size};
    struct tm_err ignored;
    if (xml_read(document, take_wanted, &w, &ignored) < 0) {
        text[0] = '\0';
        return false;
    }
    return w.found;
}
