#ifndef TM_COMMON_CREDENTIAL_CREDENTIAL_H
#define TM_COMMON_CREDENTIAL_CREDENTIAL_H
/*
 * Who we are to an object store: keys and tokens, where they come from, and getting new ones before
 * they end.
 *
 *     TM_CLEANUP(credential_freep) struct credential *c = NULL;
 *     credential_s3_new(secret, &(struct credential_options){…}, &c, err);
 *     struct s3_keys keys = S3_KEYS_INIT;
 *     credential_s3_get(c, &keys, err);   before each request: from memory, renewed when due
 *     … sign … ; s3_keys_release(&keys);
 *     credential_reject(c);               the store said "expired": the next get asks anew
 *
 * S3, the first that applies:
 *   1. `secret` with access_key and secret_key (and session_token);
 *   2. `secret` NULL: a web identity token file (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN: STS
 *      AssumeRoleWithWebIdentity), then the shared credentials file (AWS_SHARED_CREDENTIALS_FILE,
 *      else ~/.aws/credentials, profile AWS_PROFILE or default; only its owner may read it), then
 *      the container endpoint (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or …_FULL_URI with
 *      …_AUTHORIZATION_TOKEN_FILE), then the host's role (IMDSv2).
 * Azure, the first that applies:
 *   1. `secret` with AZURE_STORAGE_KEY (shared key), or AZURE_STORAGE_SAS_TOKEN, or AZURE_TENANT_ID,
 *      AZURE_CLIENT_ID and AZURE_CLIENT_SECRET (client credentials);
 *   2. `secret` NULL: a federated token file (AZURE_FEDERATED_TOKEN_FILE, AZURE_TENANT_ID,
 *      AZURE_CLIENT_ID), then the managed identity (IMDS; or IDENTITY_ENDPOINT and …_HEADER).
 * The environment names places and roles, never secrets: a secret is read from files, services or
 * `secret` only. A `secret` that has none of these sets is TM_E_INVALID and says what is missing.
 *
 * Temporary ones are renewed CREDENTIAL_RENEW_US before they end; while the issuer cannot be
 * reached, the old ones serve until they end. One thread renews, others wait only when there is
 * nothing valid. Errors name the source and its status, never a secret.
 *
 * Threads: all functions but new and free from any thread.
 */
#include "common/secret_map.h"

#define CREDENTIAL_RENEW_US INT64_C(300000000)

struct credential;

/* All borrowed for the call of new. */
struct credential_options {
    const char *region;          /* S3: for STS; NULL = us-east-1 */
    const char *ca_file, *proxy; /* for STS and Azure AD, as http.h */
    const char *account; /* Azure: storage account; NULL = AZURE_STORAGE_ACCOUNT of secret */
    /* where the services are; NULL = their well-known addresses (or the environment's
     * AWS_EC2_METADATA_SERVICE_ENDPOINT, AWS_ENDPOINT_URL_STS, AZURE_AUTHORITY_HOST) */
    const char *imds_url, *sts_url, *authority_url;
    int64_t (*now_real_us)(void); /* NULL = clock_real_us; tests move it */
};

struct s3_keys {
    struct secret access_key, secret_key;
    struct secret session_token; /* len 0 = none */
    int64_t ends_us;             /* real time; INT64_MAX = never */
};
#define S3_KEYS_INIT ((struct s3_keys){.ends_us = 0})
void s3_keys_release(struct s3_keys *keys);

enum azure_auth { AZURE_SHARED_KEY, AZURE_SAS, AZURE_BEARER };

struct azure_token {
    enum azure_auth how;
    struct secret value; /* the raw account key (decoded), the SAS query without '?', the token */
    int64_t ends_us;
};
#define AZURE_TOKEN_INIT ((struct azure_token){.ends_us = 0})
void azure_token_release(struct azure_token *token);

int credential_s3_new(const struct secret_map *secret, const struct credential_options *options,
                      struct credential **ret, struct tm_err *err) TM_WUR;
int credential_azure_new(const struct secret_map *secret, const struct credential_options *options,
                         struct credential **ret, struct tm_err *err) TM_WUR;
void credential_free(struct credential *c);
TM_DEFINE_FREEP(struct credential, credential_free)

int credential_s3_get(struct credential *c, struct s3_keys *ret, struct tm_err *err) TM_WUR;
int credential_azure_get(struct credential *c, struct azure_token *ret, struct tm_err *err) TM_WUR;
/* Azure: the storage account's name, "" when nothing names it. */
const char *credential_azure_account(const struct credential *c);
/* What was handed out last is no good any more; without a source of others it stays as it is. */
void credential_reject(struct credential *c);
/* "secret", "web identity token file '/x'", "host's role (IMDSv2)": for messages. */
const char *credential_source(const struct credential *c);

#endif
