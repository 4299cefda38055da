/* The examples that are installed are accepted as they stand, and name the storage that they seem to. */
#include "tests/unit/proto/spec/spec_stage.h"

#include <glob.h>

#include "common/fs.h"

#define DIR "packaging/examples/"

static const struct {
    const char *file;
    const char *url, *secret;
} examples[] = {
    {"backup.yaml", "file:///srv/backup/shop", ""},
    {"log.yaml", "file:///srv/backup/shop", ""},
    {"restore.yaml", "", ""},
    {"backup-s3.yaml",
     "s3://shop-backups/demo1?provider=aws&region=eu-west-1&storage-class=STANDARD_IA&sse=AES256",
     "s3-secret"},
    {"backup-azure.yaml", "azblob://shop/demo1?account-name=acct&access-tier=Cool", "azure"},
    {"backup-oss.yaml", "s3://shop-backups/demo1?provider=alibaba&region=cn-hangzhou",
     "oss-secret"},
    {"backup-cos.yaml", "s3://shop-backups-1250000000/demo1?provider=tencent&region=ap-guangzhou",
     "cos-secret"},
};

static const char *text_of(const char *text)
{
    return text != NULL ? text : "";
}

static void examples_are_accepted(void **state)
{
    (void)state;
    for (size_t at = 0; at < TM_ARRAY_LEN(examples); at++) {
        TM_CLEANUP(buf_release) struct buf bytes = BUF_INIT;
        TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
        struct tm_err err = {0};
        char path[128];
        (void)snprintf(path, sizeof(path), DIR "%s", examples[at].file);
        if (fs_read_file(path, 65536, &bytes, &err) < 0 ||
            resource_parse(path, buf_slice(&bytes), &list, &err) < 0) {
            fail_msg("%s", err.msg);
            return; /* the analyzer does not know that the line before ends the test */
        }
        assert_int_equal(list.count, 1);
        const struct resource *r = list.items[0];
        const struct storage_spec *storage =
            r->kind == RESOURCE_RESTORE ? &r->restore.storage : &r->backup.storage;
        if (resource_check_apply(r, &err) < 0)
            fail_msg("%s", err.msg);
        assert_int_equal(list.warnings.count, 0);
        assert_string_equal(text_of(storage->url), examples[at].url);
        assert_string_equal(text_of(storage->secret_name), examples[at].secret);
    }
}

/* One that is added has to be added above, too. */
static void none_is_forgotten(void **state)
{
    (void)state;
    glob_t found;
    assert_int_equal(glob(DIR "*.yaml", 0, NULL, &found), 0);
    /* those of the two daemons are configuration */
    assert_int_equal(found.gl_pathc, TM_ARRAY_LEN(examples) + 2);
    globfree(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_are_accepted),
        cmocka_unit_test(none_is_forgotten),
    };
    return cmocka_run_group_tests_name("proto/spec/examples", tests, NULL, NULL);
}
