/*
 * The `br` block, and the flags of the br tool that TiDB specs carry in br.options.
 *
 * Flags have the highest priority there, so a known one overrides the field. A flag is written
 * "--name=value", "--name value" in one string, or as two strings; a switch may stand alone.
 */
#include "common/clock.h"
#include "common/parse.h"
#include "proto/spec/internal.h"

#define GCTTL_MAX_US (30 * USEC_PER_DAY)

/* Seconds as a bare number, as br takes it, or a duration. */
static int gcttl_from(const char *text, int64_t *ret_us, struct tm_err *err)
{
    uint64_t seconds;
    struct tm_err ignored;
    if (parse_u64_in(text, 1, (uint64_t)(GCTTL_MAX_US / USEC_PER_SEC), &seconds, &ignored) == 0) {
        *ret_us = (int64_t)seconds * USEC_PER_SEC;
        return 0;
    }
    int64_t us;
    int r = duration_parse(text, &us, err);
    if (r < 0)
        return r;
    if (us < USEC_PER_SEC || us > GCTTL_MAX_US)
        return tm_err_set(err, TM_E_INVALID, "%s is not in 1s to 30d", text);
    *ret_us = us;
    return 0;
}

static int parse_gcttl(const struct schema_field *field, const struct yaml_node *node, void *member,
                       struct schema_warnings *warnings, struct tm_err *err)
{
    (void)warnings;
    if (node->kind != YAML_KIND_SCALAR)
        return yaml_error(node, err, "'%s' must be a number of seconds or a duration, not %s",
                          field->name, yaml_kind_text(node->kind));
    struct tm_err why;
    if (gcttl_from(node->text, member, &why) < 0)
        return yaml_error(node, err, "'%s': %s", field->name, why.msg);
    return 0;
}

static int parse_send(const struct schema_field *field, const struct yaml_node *node, void *member,
                      struct schema_warnings *warnings, struct tm_err *err)
{
    (void)warnings;
    struct tm_err why;
    bool send;
    bool *own = member;
    if (node->kind != YAML_KIND_SCALAR)
        return yaml_error(node, err, "'%s' must be true or false, not %s", field->name,
                          yaml_kind_text(node->kind));
    if (parse_bool(node->text, &send, &why) < 0)
        return yaml_error(node, err, "'%s': %s", field->name, why.msg);
    *own = !send;
    return 0;
}

#define SEND_CREDENTIALS(name_)                                                                    \
    {                                                                                              \
        .name = (name_), .type = SCHEMA_CUSTOM,                                                    \
        .offset = offsetof(struct br_spec, own_credentials), .parse = parse_send                   \
    }

const struct schema_field spec_text_item = {.type = SCHEMA_STRING};

static const struct schema_field br_fields[] = {
    SCHEMA_FIELD(struct br_spec, cluster, "cluster", SCHEMA_STRING),
    SCHEMA_FIELD(struct br_spec, tenant, "tenant", SCHEMA_STRING),
    SCHEMA_FIELD(struct br_spec, cluster_namespace, "clusterNamespace", SCHEMA_STRING,
                 .flags = SCHEMA_WARN, .warning = SPEC_NOWHERE),
    SCHEMA_FIELD(struct br_spec, concurrency, "concurrency", SCHEMA_INT, .min = 0, .max = 256),
    SCHEMA_FIELD(struct br_spec, rate_limit_mib, "rateLimit", SCHEMA_INT, .min = 0, .max = 1000000),
    SCHEMA_FIELD(struct br_spec, time_ago, "timeAgo", SCHEMA_STRING),
    SCHEMA_FIELD(struct br_spec, checksum, "checksum", SCHEMA_BOOL),
    {.name = "gcttl",
     .type = SCHEMA_CUSTOM,
     .offset = offsetof(struct br_spec, gcttl_us),
     .parse = parse_gcttl},
    SCHEMA_FIELD(struct br_spec, options, "options", SCHEMA_LIST, .item = &spec_text_item,
                 .item_size = sizeof(char *), .max = 64),
    SCHEMA_FIELD(struct br_spec, database, "db", SCHEMA_STRING),
    SCHEMA_FIELD(struct br_spec, table, "table", SCHEMA_STRING),
    SEND_CREDENTIALS("sendCredToTikv"), /* one wish under two names */
    SEND_CREDENTIALS("sendCredToAgents"),
    SCHEMA_SKIP("logLevel", "belongs to the daemons' configuration; ignored"),
    SCHEMA_SKIP("statusAddr", "belongs to the coordinator's configuration (http); ignored"),
    SCHEMA_SKIP("checkRequirements", "has no effect: requirements are always checked; ignored"),
    SCHEMA_SKIP("onLine", SPEC_TIDB),
};
const struct schema spec_br_schema = SCHEMA("br", struct br_spec, br_fields);

/* ---- flags ---- */

struct flag {
    char name[64];
    const char *value; /* NULL = none was given */
    const struct yaml_node *node;
};

static int flag_error(const struct flag *flag, const struct tm_err *why, struct tm_err *err)
{
    return yaml_error(flag->node, err, "flag '--%s': %s", flag->name, why->msg);
}

static int replace_text(char **member, const char *text, struct tm_err *err)
{
    char *copy = strdup(text);
    if (copy == NULL)
        return tm_err_oom(err);
    free(*member);
    *member = copy;
    return 0;
}

static int flag_number(const struct flag *flag, uint64_t max, int64_t *member, struct tm_err *err)
{
    uint64_t value;
    struct tm_err why;
    if (parse_u64_in(flag->value, 0, max, &value, &why) < 0)
        return flag_error(flag, &why, err);
    *member = (int64_t)value;
    return 0;
}

static int flag_compression(const struct flag *flag, char **compression,
                            struct schema_warnings *warnings, struct tm_err *err)
{
    if (compression == NULL || strcmp(flag->value, "zstd") == 0)
        return 0;
    schema_warn(warnings, flag->node,
                "flag '--compression %s': only zstd is there, it is taken instead", flag->value);
    return replace_text(compression, "zstd", err);
}

static int flag_level(const struct flag *flag, char **compression, struct tm_err *err)
{
    uint64_t level;
    struct tm_err why;
    if (parse_u64_in(flag->value, 1, 19, &level, &why) < 0)
        return flag_error(flag, &why, err);
    char text[32];
    (void)snprintf(text, sizeof(text), "zstd:%u", (unsigned)level);
    return compression != NULL ? replace_text(compression, text, err) : 0;
}

/* What br takes as flags and must never stand in a spec. */
static bool is_secret(const char *name)
{
    static const char *const secrets[] = {
        "s3.access-key",    "s3.secret-access-key", "s3.session-token",     "azblob.account-key",
        "azblob.sas-token", "azblob.shared-key",    "azblob.encryption-key"};
    for (size_t n = 0; n < TM_ARRAY_LEN(secrets); n++)
        if (strcmp(name, secrets[n]) == 0)
            return true;
    return false;
}

/* --s3.endpoint and the like: what the block said gives way. */
static bool storage_key(const char *name, char family[16], const char **ret_key)
{
    static const char *const known[] = {"s3.endpoint",
                                        "s3.storage-class",
                                        "s3.sse",
                                        "s3.sse-kms-key-id",
                                        "s3.acl",
                                        "s3.provider",
                                        "s3.region",
                                        "s3.force-path-style",
                                        "azblob.endpoint",
                                        "azblob.access-tier",
                                        "azblob.account-name"};
    for (size_t n = 0; n < TM_ARRAY_LEN(known); n++) {
        if (strcmp(name, known[n]) != 0)
            continue;
        size_t len = strcspn(name, ".");
        (void)snprintf(family, 16, "%.*s", (int)len, name);
        *ret_key = known[n] + len + 1;
        return true;
    }
    return false;
}

static int storage_flag(const struct spec_br_reach *reach, const struct flag *flag,
                        const char *family, const char *key, struct schema_warnings *warnings,
                        struct tm_err *err)
{
    struct tm_err why;
    bool any = false;
    for (size_t n = 0; n < TM_ARRAY_LEN(reach->stores); n++) {
        bool taken;
        if (spec_storage_flag(reach->stores[n], family, key, flag->value, &taken, &why) < 0)
            return flag_error(flag, &why, err);
        any = any || taken;
    }
    if (!any)
        schema_warn(warnings, flag->node, "flag '--%s' is for another kind of storage; ignored",
                    flag->name);
    return 0;
}

/* Switches may stand alone. False: it is none. */
static bool take_switch(struct br_spec *br, const char *name, bool on)
{
    if (strcmp(name, "checksum") == 0)
        br->checksum = on;
    else if (strcmp(name, "send-credentials-to-tikv") == 0 || strcmp(name, "c") == 0)
        br->own_credentials = !on;
    else if (strcmp(name, "use-checkpoint") == 0)
        br->no_checkpoint = !on;
    else if (strcmp(name, "no-checkpoint") == 0)
        br->no_checkpoint = on;
    else
        return false;
    return true;
}

static int take_flag(struct br_spec *br, const struct spec_br_reach *reach, struct flag *flag,
                     struct schema_warnings *warnings, struct tm_err *err)
{
    struct tm_err why;
    bool on;
    char family[16] = "";
    const char *key = NULL;
    if (is_secret(flag->name)) /* its value is not quoted */
        return yaml_error(flag->node, err,
                          "flag '--%s' is a secret and must not be written into a spec; put it "
                          "into the secret that 'secretName' names",
                          flag->name);
    if (take_switch(br, flag->name, true)) {
        if (flag->value == NULL)
            return 0;
        if (parse_bool(flag->value, &on, &why) < 0)
            return flag_error(flag, &why, err);
        (void)take_switch(br, flag->name, on);
        return 0;
    }
    if (strcmp(flag->name, "lastbackupts") == 0) {
        schema_warn(warnings, flag->node,
                    "flag '--lastbackupts' asks for an incremental backup; a full one is taken");
        return 0;
    }
    static const char *const known[] = {"gcttl",       "concurrency",       "ratelimit", "timeago",
                                        "compression", "compression-level", "filter",    "f"};
    bool is_known = storage_key(flag->name, family, &key);
    for (size_t n = 0; n < TM_ARRAY_LEN(known); n++)
        is_known = is_known || strcmp(flag->name, known[n]) == 0;
    if (!is_known) {
        schema_warn(warnings, flag->node, "flag '--%s' of br has no meaning here and is ignored",
                    flag->name);
        return 0;
    }
    if (flag->value == NULL)
        return yaml_error(flag->node, err, "flag '--%s' needs a value", flag->name);
    if (key != NULL)
        return storage_flag(reach, flag, family, key, warnings, err);
    if (strcmp(flag->name, "gcttl") == 0 && !reach->holds)
        schema_warn(warnings, flag->node, "flag '--gcttl' " SPEC_NO_HOLD);
    if (strcmp(flag->name, "gcttl") == 0)
        return gcttl_from(flag->value, &br->gcttl_us, &why) < 0 ? flag_error(flag, &why, err) : 0;
    if (strcmp(flag->name, "concurrency") == 0)
        return flag_number(flag, 256, &br->concurrency, err);
    if (strcmp(flag->name, "ratelimit") == 0)
        return flag_number(flag, 1000000, &br->rate_limit_mib, err);
    if (strcmp(flag->name, "timeago") == 0)
        return replace_text(&br->time_ago, flag->value, err);
    if (strcmp(flag->name, "compression") == 0)
        return flag_compression(flag, reach->compression, warnings, err);
    if (strcmp(flag->name, "compression-level") == 0)
        return flag_level(flag, reach->compression, err);
    return replace_text(&br->table, flag->value, err); /* --filter, -f */
}

/* Splits "--name=value" or "--name value"; a value may also be the next string. */
static int next_flag(const struct yaml_node **at, struct flag *ret, struct tm_err *err)
{
    const struct yaml_node *node = *at;
    const char *text = node->text;
    size_t dashes = strspn(text, "-");
    size_t len = strcspn(text + dashes, "= \t");
    if (dashes < 1 || dashes > 2 || len == 0 || len >= sizeof(ret->name))
        return yaml_error(node, err, "'%s' is not a flag of br: '--name=value' is wanted", text);
    *ret = (struct flag){.node = node};
    memcpy(ret->name, text + dashes, len);
    const char *rest = text + dashes + len;
    rest += strspn(rest, "= \t");
    *at = node->next;
    if (*rest != '\0') {
        ret->value = rest;
    } else if (*at != NULL && (*at)->kind == YAML_KIND_SCALAR && (*at)->text[0] != '-') {
        ret->value = (*at)->text;
        *at = (*at)->next;
    }
    return 0;
}

int spec_br_options(struct br_spec *br, const struct spec_br_reach *reach,
                    const struct yaml_node *options, struct schema_warnings *warnings,
                    struct tm_err *err)
{
    if (options == NULL || options->kind != YAML_KIND_LIST)
        return 0;
    const struct yaml_node *at = options->first;
    while (at != NULL) {
        struct flag flag;
        int r = next_flag(&at, &flag, err);
        if (r == 0)
            r = take_flag(br, reach, &flag, warnings, err);
        if (r < 0)
            return r;
    }
    return 0;
}
