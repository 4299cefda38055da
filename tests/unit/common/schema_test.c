/* The table walker: every type, defaults, warnings, every kind of error with its place, and no
 * leaks. */
#include "common/schema.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include "common/clock.h"
#include "common/size.h"

enum mode { MODE_FULL = 1, MODE_LOG = 2 };

struct part {
    char *name;
    int64_t weight;
};

struct spec {
    char *title;
    bool checksum;
    bool checksum_given;
    int64_t workers;
    uint64_t limit_bytes;
    int64_t wait_us;
    int64_t at_us;
    int mode;
    struct part main;
    struct part *extra;
    struct schema_list parts;
    struct schema_list tags;
    struct schema_map labels;
    int custom;
};

static const struct schema_field part_fields[] = {
    SCHEMA_FIELD(struct part, name, "name", SCHEMA_STRING, .flags = SCHEMA_REQUIRED),
    SCHEMA_FIELD(struct part, weight, "weight", SCHEMA_INT, .def = "7"),
};
static const struct schema part_schema = SCHEMA("part", struct part, part_fields);
static const struct schema_field main_fields[] = {
    SCHEMA_FIELD(struct part, name, "name", SCHEMA_STRING),
    SCHEMA_FIELD(struct part, weight, "weight", SCHEMA_INT, .def = "3"),
};
static const struct schema main_schema = SCHEMA("main part", struct part, main_fields);
static const struct schema_enum modes[] = {{"full", MODE_FULL}, {"log", MODE_LOG}, {NULL, 0}};
static const struct schema_field part_item = {.type = SCHEMA_STRUCT, .sub = &part_schema};
static const struct schema_field tag_item = {.type = SCHEMA_STRING, .flags = SCHEMA_NON_EMPTY};

static int parse_custom(const struct schema_field *field, const struct yaml_node *node,
                        void *member, struct schema_warnings *warnings, struct tm_err *err)
{
    (void)warnings;
    if (node->kind != YAML_KIND_SCALAR)
        return yaml_error(node, err, "'%s' must be text", field->name);
    *(int *)member = (int)strlen(node->text);
    return 0;
}

static int check_spec(const void *object, const struct yaml_node *node,
                      struct schema_warnings *warnings, struct tm_err *err)
{
    const struct spec *spec = object;
    if (spec->workers == 13)
        return yaml_error(yaml_get(node, "workers"), err, "13 is not wanted here");
    if (spec->workers == 12)
        schema_warn(warnings, yaml_get(node, "workers"), "12 is a lot");
    return 0;
}

static const struct schema_field spec_fields[] = {
    SCHEMA_FIELD(struct spec, title, "title", SCHEMA_STRING, .flags = SCHEMA_REQUIRED, .max = 10),
    SCHEMA_FIELD(struct spec, checksum, "checksum", SCHEMA_BOOL, .def = "true",
                 .flags = SCHEMA_PRESENT, .present_offset = offsetof(struct spec, checksum_given)),
    SCHEMA_FIELD(struct spec, workers, "workers", SCHEMA_INT, .def = "2", .min = 1, .max = 64),
    SCHEMA_FIELD(struct spec, limit_bytes, "limit", SCHEMA_SIZE, .min = 1024, .max = 1048576,
                 .def = "1KiB"),
    SCHEMA_FIELD(struct spec, wait_us, "wait", SCHEMA_DURATION, .min = USEC_PER_SEC,
                 .max = USEC_PER_HOUR, .def = "5s"),
    SCHEMA_FIELD(struct spec, at_us, "at", SCHEMA_TIME),
    SCHEMA_FIELD(struct spec, mode, "mode", SCHEMA_ENUM, .values = modes, .def = "full"),
    SCHEMA_FIELD(struct spec, main, "main", SCHEMA_STRUCT, .sub = &main_schema),
    SCHEMA_FIELD(struct spec, extra, "extra", SCHEMA_POINTER, .sub = &part_schema),
    SCHEMA_FIELD(struct spec, parts, "parts", SCHEMA_LIST, .item = &part_item,
                 .item_size = sizeof(struct part), .max = 3),
    SCHEMA_FIELD(struct spec, tags, "tags", SCHEMA_LIST, .item = &tag_item,
                 .item_size = sizeof(char *)),
    SCHEMA_FIELD(struct spec, labels, "labels", SCHEMA_MAP),
    SCHEMA_FIELD(struct spec, custom, "custom", SCHEMA_CUSTOM, .parse = parse_custom),
    SCHEMA_SKIP("annotations", "has no meaning here and is ignored"),
};
static const struct schema spec_schema =
    SCHEMA_CHECKED("spec", struct spec, spec_fields, check_spec);

static int load(const char *text, struct spec *spec, struct schema_warnings *w, struct tm_err *err)
{
    TM_CLEANUP(yaml_freep) struct yaml *y = NULL;
    if (yaml_parse("t.yaml", slice_str(text), &y, err) < 0)
        fail_msg("%s", err->msg);
    return schema_load(&spec_schema, yaml_doc(y, 0), spec, w, err);
}

static void defaults(void **state)
{
    (void)state;
    struct spec spec;
    struct tm_err err = {0};
    assert_int_equal(load("title: x\nworkers:\n", &spec, NULL, &err), 0);
    assert_string_equal(spec.title, "x");
    assert_true(spec.checksum);
    assert_false(spec.checksum_given);
    assert_int_equal(spec.workers, 2);
    assert_int_equal(spec.limit_bytes, 1024);
    assert_int_equal(spec.wait_us, 5 * USEC_PER_SEC);
    assert_int_equal(spec.at_us, 0);
    assert_int_equal(spec.mode, MODE_FULL);
    assert_int_equal(spec.main.weight, 3);
    assert_null(spec.extra);
    assert_int_equal(spec.parts.count, 0);
    schema_release(&spec_schema, &spec);
    assert_null(spec.title);
    schema_release(&spec_schema, &spec);
}

static void everything(void **state)
{
    (void)state;
    struct spec spec;
    struct tm_err err = {0};
    struct schema_warnings w = SCHEMA_WARNINGS_INIT;
    if (load("title: hello\nchecksum: false\nworkers: 12\nlimit: 2KiB\nwait: 1m\n"
             "at: 1970-01-01T00:00:01Z\nmode: log\nmain: {name: m}\nextra: {name: e, weight: 1}\n"
             "parts:\n- name: a\n- {name: b, weight: -4}\ntags: [one, 'two']\n"
             "labels: {z: 1, a: text, m: }\ncustom: four\nannotations: {any: [thing]}\n",
             &spec, &w, &err) < 0)
        fail_msg("%s", err.msg);
    assert_false(spec.checksum);
    assert_true(spec.checksum_given);
    assert_int_equal(spec.limit_bytes, 2 * KIB);
    assert_int_equal(spec.wait_us, USEC_PER_MIN);
    assert_int_equal(spec.at_us, USEC_PER_SEC);
    assert_int_equal(spec.mode, MODE_LOG);
    assert_string_equal(spec.main.name, "m");
    assert_int_equal(spec.main.weight, 3);
    assert_string_equal(spec.extra->name, "e");
    const struct part *parts = spec.parts.items;
    assert_int_equal(spec.parts.count, 2);
    assert_string_equal(parts[0].name, "a");
    assert_int_equal(parts[0].weight, 7);
    assert_int_equal(parts[1].weight, -4);
    char *const *tags = spec.tags.items;
    assert_string_equal(tags[1], "two");
    assert_int_equal(spec.labels.count, 3);
    assert_string_equal(spec.labels.entries[0].key, "a");
    assert_string_equal(schema_map_get(&spec.labels, "z"), "1");
    assert_string_equal(schema_map_get(&spec.labels, "m"), "");
    assert_null(schema_map_get(&spec.labels, "q"));
    assert_int_equal(spec.custom, 4);
    assert_int_equal(w.count, 2);
    assert_string_equal(w.items[0],
                        "t.yaml:16:1: field 'annotations' has no meaning here and is ignored");
    assert_string_equal(w.items[1], "t.yaml:3:1: 12 is a lot");
    schema_warnings_release(&w);
    schema_release(&spec_schema, &spec);
}

static void expect_error(const char *text, const char *message)
{
    struct spec spec;
    struct tm_err err = {0};
    assert_int_equal(load(text, &spec, NULL, &err), -TM_E_INVALID);
    assert_string_equal(err.msg, message);
}

static void errors(void **state)
{
    (void)state;
    expect_error("titel: x\n", "t.yaml:1:1: unknown field 'titel' in spec, did you mean 'title'?");
    expect_error("title: x\nqqqq: 1\n", "t.yaml:2:1: unknown field 'qqqq' in spec");
    expect_error("workers: 5\n", "t.yaml:1:1: field 'title' of spec is missing");
    expect_error("title:\n", "t.yaml:1:1: field 'title' of spec has no value");
    expect_error("title: [a]\n", "t.yaml:1:8: 'title' must be text, not a list");
    expect_error("title: much too long\n", "t.yaml:1:8: 'title' is longer than 10 bytes");
    expect_error("title: x\nworkers: many\n",
                 "t.yaml:2:10: 'workers': 'many' is not a whole number");
    expect_error("title: x\nworkers: 65\n", "t.yaml:2:10: 'workers': 65 is not in 1 to 64");
    expect_error("title: x\nworkers: 13\n", "t.yaml:2:10: 13 is not wanted here");
    expect_error("title: x\nchecksum: yes\n",
                 "t.yaml:2:11: 'checksum': 'yes' is not true or false, write true");
    expect_error("title: x\nlimit: 2MiB\n", "t.yaml:2:8: 'limit': 2MiB is not in 1KiB to 1MiB");
    expect_error("title: x\nwait: 2h\n", "t.yaml:2:7: 'wait': 2h is not in 1s to 1h");
    expect_error("title: x\nmode: ful\n",
                 "t.yaml:2:7: 'mode': unknown value 'ful', did you mean 'full'?");
    expect_error("title: x\nmode: zebra\n",
                 "t.yaml:2:7: 'mode': unknown value 'zebra' (known: full, log)");
    expect_error("title: x\nmain: text\n", "t.yaml:2:7: 'main' must be a map, not text");
    expect_error("title: x\nextra: {weight: 5}\n", "t.yaml:2:8: field 'name' of part is missing");
    expect_error("title: x\nparts: [{name: a}, {nam: b}]\n",
                 "t.yaml:2:21: unknown field 'nam' in part, did you mean 'name'?");
    expect_error("title: x\nparts: [a]\n", "t.yaml:2:9: 'parts' must be a map, not text");
    expect_error("title: x\nparts: [{name: a}, {name: a}, {name: a}, {name: a}]\n",
                 "t.yaml:2:8: 'parts' has more than 3 entries");
    expect_error("title: x\ntags: [a, '']\n", "t.yaml:2:11: 'tags' must not be empty");
    expect_error("title: x\ntags: [a, ]\nlabels: {a: [b]}\n",
                 "t.yaml:3:13: 'labels': 'a' must be text, not a list");
    expect_error("title: x\ncustom: [a]\n", "t.yaml:2:9: 'custom' must be text");
    expect_error("- a\n", "t.yaml:1:1: spec must be a map, not a list");
}

static void a_warning_about_no_place(void **state)
{
    (void)state;
    struct schema_warnings w = SCHEMA_WARNINGS_INIT;
    schema_warn(&w, NULL, "data_dir '%s' cannot be seen", "/x");
    assert_int_equal(w.count, 1);
    assert_string_equal(w.items[0], "data_dir '/x' cannot be seen");
    schema_warnings_release(&w);
}

static void many_warnings_are_counted(void **state)
{
    (void)state;
    struct schema_warnings w = SCHEMA_WARNINGS_INIT;
    const struct yaml_node node = {.source = "s", .line = 1, .column = 2};
    for (int n = 0; n < SCHEMA_WARNINGS_MAX + 5; n++)
        schema_warn(&w, &node, "no %d", n);
    assert_int_equal(w.count, SCHEMA_WARNINGS_MAX);
    assert_int_equal(w.dropped, 5);
    assert_string_equal(w.items[1], "s:1:2: no 1");
    schema_warnings_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(everything),
        cmocka_unit_test(errors),
        cmocka_unit_test(a_warning_about_no_place),
        cmocka_unit_test(many_warnings_are_counted),
    };
    return cmocka_run_group_tests_name("common/schema", tests, NULL, NULL);
}
