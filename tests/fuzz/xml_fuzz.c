/* Arbitrary bytes as an XML answer: refused with a message, or told within the bounds, the root last.
 */
#include "common/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    char last[XML_PATH_MAX];
    size_t elements;
};

static int take(const char *path, const char *text, void *arg, struct tm_err *err)
{
    struct seen *s = arg;
    size_t depth = 1;
    for (const char *at = path; *at != '\0'; at++)
        depth += *at == '/';
    if (strlen(path) >= XML_PATH_MAX || depth > XML_DEPTH_MAX ||
        strlen(text) > XML_TEXT_MAX + XML_DEPTH_MAX)
        abort();
    (void)snprintf(s->last, sizeof(s->last), "%s", path);
    if (++s->elements == 5000)
        return tm_err_set(err, TM_E_CANCELED, "enough");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tm_err err = {.code = TM_E_OK};
    struct seen seen = {.elements = 0};
    char text[64];
    int r = xml_read(slice_of(data, size), take, &seen, &err);
    if (r == 0 && (seen.elements == 0 || strchr(seen.last, '/') != NULL))
        abort(); /* the root ends last */
    if (r < 0 && (err.msg[0] == '\0' || r != -(int)err.code))
        abort();
    if (xml_text(slice_of(data, size), "Error/Code", text, sizeof(text)) && r < 0 &&
        err.code != TM_E_CANCELED)
        abort();
    return 0;
}
