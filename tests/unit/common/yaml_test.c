/* The YAML tree: places, kinds, several documents, and everything that is refused. */
#include "common/yaml.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

static struct yaml *parse_ok(const char *text)
{
    struct tm_err err = {0};
    struct yaml *y = NULL;
    if (yaml_parse("t.yaml", slice_str(text), &y, &err) < 0)
        fail_msg("%s", err.msg);
    return y;
}

static void expect_error(const char *text, int code, const char *message)
{
    struct tm_err err = {0};
    struct yaml *y = NULL;
    assert_int_equal(yaml_parse("t.yaml", slice_str(text), &y, &err), -code);
    assert_string_equal(err.msg, message);
    assert_null(y);
}

static void tree_and_places(void **state)
{
    (void)state;
    TM_CLEANUP(yaml_freep)
    struct yaml *y = parse_ok("kind: Backup\nspec:\n  br: {cluster: \"c 1\", n: 5}\n"
                              "  list:\n    - a\n    - ~\n  nothing:\n  quoted: 'null'\n");
    assert_int_equal(yaml_doc_count(y), 1);
    const struct yaml_node *root = yaml_doc(y, 0);
    assert_int_equal(root->kind, YAML_KIND_MAP);
    assert_int_equal(root->count, 2);
    assert_string_equal(yaml_get_text(root, "kind"), "Backup");
    const struct yaml_node *cluster = yaml_find(root, "spec.br.cluster");
    assert_string_equal(cluster->text, "c 1");
    assert_true(cluster->quoted);
    assert_int_equal(cluster->line, 3);
    assert_int_equal(cluster->column, 17);
    assert_int_equal(cluster->key_column, 8);
    assert_string_equal(cluster->key, "cluster");
    const struct yaml_node *list = yaml_find(root, "spec.list");
    assert_int_equal(list->kind, YAML_KIND_LIST);
    assert_string_equal(list->first->text, "a");
    assert_int_equal(list->first->next->kind, YAML_KIND_NULL);
    assert_int_equal(yaml_find(root, "spec.nothing")->kind, YAML_KIND_NULL);
    assert_int_equal(yaml_find(root, "spec.quoted")->kind, YAML_KIND_SCALAR);
    assert_null(yaml_find(root, "spec.absent.deeper"));
    assert_null(yaml_get(list, "a"));
    assert_null(yaml_doc(y, 1));
    struct tm_err err;
    assert_int_equal(yaml_error(cluster, &err, "bad %s", "thing"), -TM_E_INVALID);
    assert_string_equal(err.msg, "t.yaml:3:17: bad thing");
    assert_int_equal(yaml_key_error(cluster, &err, "bad"), -TM_E_INVALID);
    assert_string_equal(err.msg, "t.yaml:3:8: bad");
}

static void several_documents(void **state)
{
    (void)state;
    TM_CLEANUP(yaml_freep)
    struct yaml *y = parse_ok("---\n# only a comment\n---\na: 1\n---\n- b\n---\n");
    assert_int_equal(yaml_doc_count(y), 2);
    assert_int_equal(yaml_doc(y, 0)->kind, YAML_KIND_MAP);
    assert_int_equal(yaml_doc(y, 1)->kind, YAML_KIND_LIST);
    TM_CLEANUP(yaml_freep) struct yaml *empty = parse_ok("");
    assert_int_equal(yaml_doc_count(empty), 0);
}

static void refused(void **state)
{
    (void)state;
    expect_error("a: 1\nb: 2\na: 3\n", TM_E_INVALID,
                 "t.yaml:3:1: 'a' is given twice, first on line 1");
    expect_error("a: &x 1\n", TM_E_INVALID,
                 "t.yaml:1:4: anchors, aliases and tags are not accepted");
    expect_error("a: *x\n", TM_E_INVALID, "t.yaml:1:4: anchors, aliases and tags are not accepted");
    expect_error("a: !!int 5\n", TM_E_INVALID,
                 "t.yaml:1:4: anchors, aliases and tags are not accepted");
    expect_error("? [a]\n: b\n", TM_E_INVALID, "t.yaml:1:3: a key must be plain text");
    expect_error("a: \"x\\0y\"\n", TM_E_INVALID, "t.yaml:1:4: text contains a NUL character");
    expect_error("a: [1\n", TM_E_INVALID,
                 "t.yaml:2:1: while parsing a flow sequence did not find expected ',' or ']'");
    expect_error("a: 1\n b: 2\n", TM_E_INVALID,
                 "t.yaml:2:3: mapping values are not allowed in this context");
    expect_error("a: \xff\n", TM_E_INVALID, "t.yaml: at byte 3: invalid leading UTF-8 octet");
}

static void limits(void **state)
{
    (void)state;
    struct tm_err err;
    struct yaml *y = NULL;
    char deep[2 * YAML_MAX_DEPTH + 2] = "";
    memset(deep, '[', YAML_MAX_DEPTH + 1);
    expect_error(deep, TM_E_LIMIT, "t.yaml:1:33: more than 32 levels deep");

    TM_CLEANUP(buf_release) struct buf text = BUF_INIT;
    for (int n = 0; n <= YAML_MAX_NODES; n++)
        assert_int_equal(buf_printf(&text, &err, "- x\n"), 0);
    assert_int_equal(yaml_parse("t.yaml", buf_slice(&text), &y, &err), -TM_E_LIMIT);
    assert_string_equal(err.msg, "t.yaml:20000:3: more than 20000 values");

    buf_reset(&text);
    for (int n = 0; n <= YAML_MAX_KEYS; n++)
        assert_int_equal(buf_printf(&text, &err, "k%d: x\n", n), 0);
    assert_int_equal(yaml_parse("t.yaml", buf_slice(&text), &y, &err), -TM_E_LIMIT);
    assert_string_equal(err.msg, "t.yaml:2001:1: more than 2000 keys in one map");

    buf_reset(&text);
    for (int n = 0; n <= YAML_MAX_DOCS; n++)
        assert_int_equal(buf_printf(&text, &err, "---\na: 1\n"), 0);
    assert_int_equal(yaml_parse("t.yaml", buf_slice(&text), &y, &err), -TM_E_LIMIT);

    buf_reset(&text);
    assert_int_equal(buf_reserve(&text, YAML_MAX_BYTES + 1, &err), 0);
    memset(text.data, ' ', YAML_MAX_BYTES + 1);
    text.len = YAML_MAX_BYTES + 1;
    assert_int_equal(yaml_parse("t.yaml", buf_slice(&text), &y, &err), -TM_E_LIMIT);
    assert_string_equal(err.msg, "t.yaml: larger than 1048576 bytes");
    assert_null(y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tree_and_places),
        cmocka_unit_test(several_documents),
        cmocka_unit_test(refused),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests_name("common/yaml", tests, NULL, NULL);
}
