/*
 * YAML tree ↔ JSON ↔ YAML text.
 *
 * Plain scalars become what YAML's core rules make of them, as far as JSON can hold them without
 * losing a digit: integers of 64 bits, decimals that print as written, true, false, null. All else
 * stays text. The canonical document is read back once before it is trusted: what cannot be stored
 * and understood again is refused here, not at the next start of the daemon.
 */
#include <errno.h>

#include "proto/spec/internal.h"
#include "proto/spec/status.h"

#define DUMP_FLAGS (JSON_REAL_PRECISION(15) | JSON_ENCODE_ANY)

/* ---- YAML → JSON ---- */

static bool all_digits(const char *text)
{
    return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

static json_t *number_or_text(const char *text)
{
    const char *digits = text + (text[0] == '-');
    bool leading_zero = digits[0] == '0' && digits[1] != '\0' && digits[1] != '.';
    const char *dot = strchr(digits, '.');
    if (!leading_zero && all_digits(digits) && strcmp(text, "-0") != 0) {
        errno = 0;
        long long value = strtoll(text, NULL, 10);
        return errno == 0 ? json_integer(value) : json_string(text);
    }
    if (!leading_zero && dot != NULL && dot > digits && all_digits(dot + 1) &&
        strspn(digits, "0123456789") == (size_t)(dot - digits)) {
        double value = strtod(text, NULL);
        char back[64];
        (void)snprintf(back, sizeof(back), "%.15g", value);
        return strcmp(back, text) == 0 ? json_real(value) : json_string(text);
    }
    return json_string(text);
}

static json_t *to_json(const struct yaml_node *node)
{
    json_t *value = NULL;
    switch (node->kind) {
    case YAML_KIND_NULL:
        return json_null();
    case YAML_KIND_SCALAR:
        if (!node->quoted && strcmp(node->text, "true") == 0)
            return json_true();
        if (!node->quoted && strcmp(node->text, "false") == 0)
            return json_false();
        return node->quoted ? json_string(node->text) : number_or_text(node->text);
    case YAML_KIND_LIST:
        value = json_array();
        for (const struct yaml_node *child = node->first; child != NULL; child = child->next)
            if (json_array_append_new(value, to_json(child)) < 0)
                goto fail;
        return value;
    case YAML_KIND_MAP:
        value = json_object();
        for (const struct yaml_node *child = node->first; child != NULL; child = child->next)
            if (json_object_set_new(value, child->key, to_json(child)) < 0)
                goto fail;
        return value;
    }
fail:
    json_decref(value);
    return NULL;
}

static json_t *labels_json(const struct schema_map *labels)
{
    json_t *object = json_object();
    for (size_t n = 0; n < labels->count; n++)
        (void)json_object_set_new(object, labels->entries[n].key,
                                  json_string(labels->entries[n].value));
    return object;
}

static json_t *document_json(const struct resource *r, const struct yaml_node *spec)
{
    json_t *metadata = json_pack("{s:s, s:s}", "name", r->name, "namespace", r->namespace_);
    if (metadata != NULL && r->labels.count > 0)
        (void)json_object_set_new(metadata, "labels", labels_json(&r->labels));
    json_t *body = to_json(spec);
    if (metadata == NULL || body == NULL) {
        json_decref(metadata);
        json_decref(body);
        return NULL;
    }
    return json_pack("{s:s, s:s, s:o, s:o}", "apiVersion", r->api_version, "kind",
                     resource_kind_text(r->kind), "metadata", metadata, "spec", body);
}

/* Whether YAML reads the text back as the same value. */
static bool reads_back(const json_t *document, const char *text, size_t len)
{
    TM_CLEANUP(yaml_freep) struct yaml *y = NULL;
    struct tm_err ignored;
    if (yaml_parse("document", slice_of(text, len), &y, &ignored) < 0 || yaml_doc_count(y) != 1)
        return false;
    json_t *back = to_json(yaml_doc(y, 0));
    bool same = back != NULL && json_equal(document, back);
    json_decref(back);
    return same;
}

int spec_document(const struct resource *r, const struct yaml_node *spec, char **ret,
                  size_t *ret_len, struct tm_err *err)
{
    json_t *document = document_json(r, spec);
    if (document == NULL)
        return yaml_error(spec, err,
                          "the spec cannot be written as JSON: is all of it UTF-8 text?");
    char *text = json_dumps(document, DUMP_FLAGS);
    int result = 0;
    size_t len = text != NULL ? strlen(text) : 0;
    if (text == NULL)
        result = tm_err_oom(err);
    else if (len > RESOURCE_DOCUMENT_MAX)
        result = yaml_error(spec, err, "the resource is longer than %zu KiB",
                            RESOURCE_DOCUMENT_MAX >> 10);
    else if (!reads_back(document, text, len))
        result = yaml_error(spec, err,
                            "the spec holds text that cannot be stored: control "
                            "characters, or keys of more than a line");
    json_decref(document);
    if (result < 0) {
        free(text);
        return result;
    }
    *ret = text;
    *ret_len = len;
    return 0;
}

/* ---- JSON → YAML text ---- */

static bool looks_plain(const char *text)
{
    static const char *const words[] = {"true", "false", "null", "yes", "no", "on",
                                        "off",  "y",     "n",    "~",   "="};
    size_t len = strlen(text);
    for (size_t n = 0; n < TM_ARRAY_LEN(words); n++)
        if (strcasecmp(text, words[n]) == 0)
            return false;
    if (len == 0 || len > 200 ||
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                     "0123456789_./@%+=:-") != len)
        return false;
    /* a digit, dot or sign in front may be a number, a time or something odder */
    if (!((text[0] >= 'a' && text[0] <= 'z') || (text[0] >= 'A' && text[0] <= 'Z') ||
          text[0] == '/' || text[0] == '_'))
        return false;
    return text[len - 1] != ':';
}

static int write_scalar(const json_t *value, struct buf *out, struct tm_err *err)
{
    if (json_is_string(value) && looks_plain(json_string_value(value)))
        return buf_printf(out, err, "%s", json_string_value(value));
    char *text = json_dumps(value, DUMP_FLAGS);
    if (text == NULL)
        return tm_err_oom(err);
    int r = buf_printf(out, err, "%s", text);
    free(text);
    return r;
}

static int write_key(const char *key, struct buf *out, struct tm_err *err)
{
    json_t *text = json_string(key);
    int r = text == NULL ? tm_err_oom(err) : write_scalar(text, out, err);
    json_decref(text);
    return r < 0 ? r : buf_append(out, ":", 1, err);
}

static bool is_block(const json_t *value)
{
    return (json_is_object(value) && json_object_size(value) > 0) ||
           (json_is_array(value) && json_array_size(value) > 0);
}

static int write_value(const json_t *value, int indent, bool inline_first, struct buf *out,
                       struct tm_err *err);

/* "key: value" lines; `inline_first` = the first one goes on behind "- ". */
static int write_object(const json_t *object, int indent, bool inline_first, struct buf *out,
                        struct tm_err *err)
{
    const char *key;
    json_t *child;
    bool first = inline_first;
    json_object_foreach((json_t *)(uintptr_t)object, key, child)
    {
        int r = first ? 0 : buf_printf(out, err, "%*s", indent, "");
        first = false;
        if (r == 0)
            r = write_key(key, out, err);
        /* lists may stand at the same indent as their key */
        int below = json_is_array(child) ? indent : indent + 2;
        if (r == 0)
            r = buf_append(out, is_block(child) ? "\n" : " ", 1, err);
        if (r == 0)
            r = write_value(child, below, false, out, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int write_array(const json_t *array, int indent, bool inline_first, struct buf *out,
                       struct tm_err *err)
{
    for (size_t n = 0; n < json_array_size(array); n++) {
        int r = n == 0 && inline_first ? 0 : buf_printf(out, err, "%*s", indent, "");
        if (r == 0)
            r = buf_append(out, "- ", 2, err);
        if (r == 0)
            r = write_value(json_array_get(array, n), indent + 2, true, out, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int write_value(const json_t *value, int indent, bool inline_first, struct buf *out,
                       struct tm_err *err)
{
    if (is_block(value))
        return json_is_object(value) ? write_object(value, indent, inline_first, out, err)
                                     : write_array(value, indent, inline_first, out, err);
    int r = write_scalar(value, out, err);
    return r < 0 ? r : buf_append(out, "\n", 1, err);
}

int json_to_yaml(struct slice json, struct buf *out, struct tm_err *err)
{
    json_error_t why;
    json_t *value = json_loadb((const char *)json.data, json.len, JSON_DECODE_ANY, &why);
    if (value == NULL)
        return tm_err_set(err, TM_E_INVALID, "not JSON: %s", why.text);
    size_t start = out->len;
    int r = write_value(value, 0, false, out, err);
    json_decref(value);
    if (r < 0)
        out->len = start;
    return r;
}
