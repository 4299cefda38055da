/*
 * The driver's front: opening from a URL, the store's clock, statistics.
 *
 * Happy path of opening: URL → credentials → account and host → HTTP client; nothing is sent yet.
 * Failures: what the URL or the secret lacks; a SAS or token that would go over the net in clear.
 */
#include "common/storage/azblob/internal.h"
#include "common/storage/object_store.h"

/* Any answer has the service's time in it, also one that refuses. */
static int azblob_now(struct storage *st, int64_t *ret_us, struct tm_err *err)
{
    struct azblob *az = azblob_of(st);
    if (!az->store.clock_known) {
        struct azblob_call c;
        azblob_call_init(&c, az, "HEAD", "");
        int r = azblob_call_query(&c, "restype", "container", err);
        if (r == 0)
            r = store_call_run(&c.call, err);
        azblob_call_release(&c);
        if (!az->store.clock_known)
            return r < 0 ? r
                         : tm_err_set(err, TM_E_UNSUPPORTED,
                                      "%s: the service's answers have no Date header",
                                      az->store.place);
    }
    *ret_us = store_now_us(&az->store);
    return 0;
}

static void azblob_stats(struct storage *st, struct storage_stats *ret)
{
    object_store_stats(&azblob_of(st)->store, ret);
}

static void azblob_free(struct storage *st)
{
    struct azblob *az = azblob_of(st);
    object_store_close(&az->store);
    credential_free(az->credential);
    free(az);
}

static const struct storage_ops azblob_ops = {
    .scheme = "azblob",
    .create = azblob_create,
    .read = azblob_read,
    .fetch = azblob_fetch,
    .stat = azblob_stat,
    .list = azblob_list,
    .remove = azblob_remove,
    .now = azblob_now,
    .stats = azblob_stats,
    .free = azblob_free,
};

static const struct store_ops call_ops = {.sign = azblob_sign,
                                          .read_error = azblob_read_error,
                                          .passes = azblob_passes,
                                          .says_absent = azblob_says_absent,
                                          .prepare = azblob_prepare,
                                          .explain = azblob_result};

/* A shared key only signs; the others are shown. */
static int check_clear_text(const struct azblob *az, const struct storage_options *options,
                            struct tm_err *err)
{
    bool signs =
        options->secret != NULL && secret_map_get(options->secret, "AZURE_STORAGE_KEY") != NULL;
    if (signs || strcmp(az->config.scheme, "https") == 0 || azblob_config_is_loopback(&az->config))
        return 0;
    return tm_err_set(err, TM_E_INVALID,
                      "storage URL: endpoint 'http://%s' has no TLS, and the credentials would be "
                      "readable on the net: use https, or an account key",
                      az->config.host);
}

static int open_parts(struct azblob *az, const struct storage_options *options, struct tm_err *err)
{
    struct azblob_config *config = &az->config;
    int r = credential_azure_new(
        options->secret,
        &(struct credential_options){.account = config->account[0] != '\0' ? config->account : NULL,
                                     .ca_file = config->ca_file,
                                     .proxy = config->proxy},
        &az->credential, err);
    if (r == 0)
        r = azblob_config_account(config, credential_azure_account(az->credential), err);
    if (r == 0)
        r = check_clear_text(az, options, err);
    if (r < 0)
        return r;
    return object_store_open(&az->store,
                             &(struct object_store_way){.ca_file = config->ca_file,
                                                        .proxy = config->proxy,
                                                        .insecure = config->insecure},
                             options, err);
}

static void display(struct azblob *az)
{
    const struct azblob_config *config = &az->config;
    char endpoint[sizeof(config->scheme) + sizeof(config->host) + sizeof(config->base) + 3] = "";
    if (config->endpoint_given)
        (void)snprintf(endpoint, sizeof(endpoint), "%s://%s%s", config->scheme, config->host,
                       config->base);
    object_store_display(&az->base, "azblob", config->container, config->prefix, endpoint);
}

static void azblob_closep(struct azblob **az)
{
    if (*az != NULL)
        azblob_free(&(*az)->base);
}

int azblob_open(const struct storage_url *url, const struct storage_options *options,
                struct storage **ret, struct tm_err *err)
{
    TM_CLEANUP(azblob_closep) struct azblob *az = calloc(1, sizeof(*az));
    if (az == NULL)
        return tm_err_oom(err);
    int r = azblob_config_read(url, &az->config, err);
    if (r == 0)
        r = open_parts(az, options, err);
    if (r < 0)
        return r;
    az->base.ops = &azblob_ops;
    az->base.features = STORAGE_CONDITIONAL_CREATE;
    az->store.ops = &call_ops;
    az->store.owner = az;
    (void)snprintf(az->store.place, sizeof(az->store.place), "%s://%.220s%s/%s", az->config.scheme,
                   az->config.host, az->config.base, az->config.container);
    display(az);
    *ret = &TM_TAKE(az)->base;
    return 0;
}
