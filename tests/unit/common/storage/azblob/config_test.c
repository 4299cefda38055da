/* azblob:// URLs: what is refused, which endpoint follows from which account, what is shown. */
#include "stub.h"

#include "common/storage/azblob/internal.h"

static void assert_no_storage(const char *url, const char *message)
{
    struct storage *st = NULL;
    struct storage_options options = {.secret = &g.secret};
    assert_int_equal(storage_open(url, &options, &st, &g.err), -TM_E_INVALID);
    assert_string_equal(g.err.msg, message);
    assert_null(st);
}

static void urls_are_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *url, *message;
    } cases[] = {
        {"azblob://cont/p?account-key=x",
         "storage URL: parameter 'account-key' is a secret and must not be in a URL: put it into a "
         "secret"},
        {"azblob://cont/p?SAS-token=x",
         "storage URL: parameter 'SAS-token' is a secret and must not be in a URL: put it into a "
         "secret"},
        {"azblob://cont/p?acount-name=x",
         "storage URL: azblob:// knows no parameter 'acount-name'; did you mean 'account-name'?"},
        {"azblob://Cont/p", "storage URL: 'Cont' is not the name of a container (3 to 63 "
                            "lower-case letters, digits and single hyphens)"},
        {"azblob://cont/p/../x", "storage URL: the prefix must not contain '..' as a component"},
        {"azblob://cont/p", "storage URL: the storage account is not named: write account-name=…, "
                            "or AZURE_STORAGE_ACCOUNT into the secret"},
        {"azblob://cont/p?account-name=a/b",
         "storage URL: 'a/b' is not the name of a storage account"},
        {"azblob://cont/p?endpoint=ftp://x",
         "storage URL: endpoint 'ftp://x' is not of the form https://host:port or "
         "http://address:port/account"},
        {"azblob://cont/p?account-name=a&endpoint=https://user:word@a.example.org",
         "storage URL: parameter 'endpoint' carries a user name or password, which must not be in "
         "a URL"},
        {"azblob://cont/p?account-name=a&proxy=http://user:word@p.example.org:1",
         "storage URL: parameter 'proxy' carries a user name or password, which must not be in a "
         "URL"},
        {"azblob://cont/p?endpoint=https://a.example.org/x",
         "storage URL: endpoint 'https://a.example.org/x' has a path, as only an address has"},
        {"azblob://cont/p?endpoint=http://127.0.0.1/one&account-name=two",
         "storage URL: the endpoint is of account 'one', not of 'two'"},
        {"azblob://cont/p?account-name=a&access-tier=Archive",
         "storage URL: access-tier 'Archive' is not Hot, Cool or Cold, and what is archived cannot "
         "be read"},
        {"azblob://cont/p?account-name=a&insecure=yes",
         "storage URL: parameter 'insecure': 'yes' is not true or false, write true"},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++)
        assert_no_storage(cases[n].url, cases[n].message);
}

static void endpoints_follow_from_accounts_and_back(void **state)
{
    (void)state;
    static const struct {
        const char *url, *account, *place;
    } cases[] = {
        {"azblob://cont?account-name=acc", "", "https://acc.blob.core.windows.net /cont acc"},
        {"azblob://cont", "acc", "https://acc.blob.core.windows.net /cont acc"},
        {"azblob://cont?endpoint=acc.blob.core.chinacloudapi.cn", "",
         "https://acc.blob.core.chinacloudapi.cn /cont acc"},
        {"azblob://cont?endpoint=https://blobs.example.org/&account-name=acc", "",
         "https://blobs.example.org /cont acc"},
        {"azblob://cont?endpoint=http://127.0.0.1:10000/acc", "",
         "http://127.0.0.1:10000 /acc/cont acc"},
        {"azblob://cont?endpoint=http://[::1]:10000", "acc", "http://[::1]:10000 /acc/cont acc"},
        {"azblob://cont?endpoint=https://azurite:10000&account-name=acc", "",
         "https://azurite:10000 /acc/cont acc"},
    };
    for (size_t n = 0; n < TM_ARRAY_LEN(cases); n++) {
        struct storage_url url;
        struct azblob_config c;
        assert_int_equal(storage_url_parse(cases[n].url, &url, &g.err), 0);
        assert_int_equal(azblob_config_read(&url, &c, &g.err), 0);
        assert_int_equal(azblob_config_account(&c, cases[n].account, &g.err), 0);
        assert_string_equal(
            text_of("%s://%s %s/%s %s", c.scheme, c.host, c.base, c.container, c.account),
            cases[n].place);
    }
}

static void credentials_are_not_shown_on_the_net(void **state)
{
    (void)state;
    secret_map_release(&g.secret);
    assert_int_equal(
        secret_map_set(&g.secret, "AZURE_STORAGE_SAS_TOKEN", "sig=x", strlen("sig=x"), &g.err), 0);
    assert_no_storage("azblob://cont?account-name=acc&endpoint=http://10.1.2.3:10000",
                      "storage URL: endpoint 'http://10.1.2.3:10000' has no TLS, and the "
                      "credentials would be readable on the net: use https, or an account key");
}

static void a_display_has_no_secret(void **state)
{
    (void)state;
    assert_string_equal(g.st->display, text_of("azblob://cont/pre?endpoint=http://127.0.0.1:%u/acc",
                                               stub_http_port(g.stub)));
    assert_int_equal(g.st->features, STORAGE_CONDITIONAL_CREATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(urls_are_read_strictly),
        TEST(endpoints_follow_from_accounts_and_back),
        TEST(credentials_are_not_shown_on_the_net),
        TEST(a_display_has_no_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
