/* The XML reader: paths and texts in order, bounds, hostile documents. */
#include "common/xml.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

static struct tm_err err;

static int write_down(const char *path, const char *text, void *arg, struct tm_err *e)
{
    if (strcmp(text, "stop") == 0)
        return tm_err_set(e, TM_E_CANCELED, "told to");
    return buf_printf(arg, e, "%s=%s;", path, text);
}

static int read_text(const char *document, struct buf *out)
{
    out->len = 0;
    int r = xml_read(slice_str(document), write_down, out, &err);
    if (r == 0) {
        const char *ignored;
        assert_int_equal(buf_cstr(out, &ignored, &err), 0);
    }
    return r;
}

static void elements_come_inner_ones_first(void **state)
{
    (void)state;
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    assert_int_equal(read_text("<?xml version=\"1.0\" encoding=\"utf-8\"?>"
                               "<a xmlns=\"urn:x\" b=\"c\"><n:b xmlns:n=\"urn:n\">1 &amp; 2</n:b>"
                               "<b/><c>x<d>y</d>z<![CDATA[<>]]></c></a>",
                               &out),
                     0);
    assert_string_equal((char *)out.data, "a/b=1 & 2;a/b=;a/c/d=y;a/c=xz<>;a=;");
}

static void fill(struct buf *b, const char *text, size_t times)
{
    for (size_t n = 0; n < times; n++)
        assert_int_equal(buf_append(b, text, strlen(text), &err), 0);
}

/* A list of any length, written for people to read. */
static void blanks_between_elements_need_no_room(void **state)
{
    (void)state;
    TM_CLEANUP(buf_release) struct buf document = BUF_INIT;
    fill(&document, "<a>", 1);
    fill(&document, "\n            <b>1</b>", 1000);
    fill(&document, "\n</a>", 1);
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    assert_int_equal(xml_read(buf_slice(&document), write_down, &out, &err), 0);
    assert_int_equal(out.len, 1000 * strlen("a/b=1;") + strlen("a=\n;"));
}

static void the_taker_may_end_it(void **state)
{
    (void)state;
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    assert_int_equal(read_text("<a><b>stop</b><c>1</c></a>", &out), -TM_E_CANCELED);
    assert_string_equal(err.msg, "told to");
    assert_int_equal(out.len, 0);
}

static void what_is_no_document_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *document, *message;
    } cases[] = {
        {"", "not well formed XML: no element found at byte 0"},
        {"<a><b></a>", "not well formed XML: mismatched tag at byte 8"},
        {"<a/><b/>", "not well formed XML: junk after document element at byte 4"},
        {"<!DOCTYPE a [<!ENTITY x \"yyyy\">]><a>&x;</a>", "XML with a document type"},
        {"<a>&x;</a>", "not well formed XML: undefined entity at byte 3"},
        {"\xff\xfe<", "not well formed XML: unclosed token at byte 2"},
    };
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        assert_int_equal(read_text(cases[n].document, &out), -TM_E_CORRUPT);
        assert_string_equal(err.msg, cases[n].message);
    }
}

static void bounds_hold(void **state)
{
    (void)state;
    TM_CLEANUP(buf_release) struct buf out = BUF_INIT;
    TM_CLEANUP(buf_release) struct buf in = BUF_INIT;
    fill(&in, "<a>", XML_DEPTH_MAX);
    fill(&in, "</a>", XML_DEPTH_MAX);
    assert_int_equal(xml_read(buf_slice(&in), write_down, &out, &err), 0);
    in.len = 0;
    fill(&in, "<a>", XML_DEPTH_MAX + 1);
    fill(&in, "</a>", XML_DEPTH_MAX + 1);
    assert_int_equal(xml_read(buf_slice(&in), write_down, &out, &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, "XML that is nested too deep");
    in.len = 0;
    fill(&in, "<", 1);
    fill(&in, "n", XML_PATH_MAX);
    fill(&in, "/>", 1);
    assert_int_equal(xml_read(buf_slice(&in), write_down, &out, &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, "XML that is nested too deep");
    in.len = out.len = 0;
    fill(&in, "<a>", 1);
    fill(&in, "t", XML_TEXT_MAX);
    fill(&in, "</a>", 1);
    assert_int_equal(xml_read(buf_slice(&in), write_down, &out, &err), 0);
    assert_int_equal(out.len, XML_TEXT_MAX + 3);
    in.len -= 4;
    fill(&in, "t", XML_DEPTH_MAX);
    fill(&in, "</a>", 1);
    assert_int_equal(xml_read(buf_slice(&in), write_down, &out, &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, "XML with a text of more than 8192 bytes");
    in.len = 0;
    fill(&in, " ", XML_BYTES_MAX + 1);
    assert_int_equal(xml_read(buf_slice(&in), write_down, &out, &err), -TM_E_CORRUPT);
    assert_string_equal(err.msg, "XML of more than 16777216 bytes");
}

static void one_text_is_found(void **state)
{
    (void)state;
    char text[8];
    struct slice document = slice_str("<E><Code>SlowDown</Code><Code>2</Code><M>x</M></E>");
    assert_true(xml_text(document, "E/M", text, sizeof(text)));
    assert_string_equal(text, "x");
    assert_true(xml_text(document, "E/Code", text, sizeof(text)));
    assert_string_equal(text, "SlowDow");
    assert_false(xml_text(document, "E/None", text, sizeof(text)));
    assert_string_equal(text, "");
    assert_false(xml_text(slice_str("<E><M>x</M>"), "E/M", text, sizeof(text)));
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_come_inner_ones_first),
        cmocka_unit_test(blanks_between_elements_need_no_room),
        cmocka_unit_test(the_taker_may_end_it),
        cmocka_unit_test(what_is_no_document_is_told),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(one_text_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
