#ifndef TM_COMMON_STORAGE_AZBLOB_AZBLOB_H
#define TM_COMMON_STORAGE_AZBLOB_AZBLOB_H
/*
 * Storage in a container of Azure Blob Storage.
 *
 *     azblob://container/prefix?account-name=…&access-tier=…
 *
 *   account-name   by default as the secret's AZURE_STORAGE_ACCOUNT or the endpoint says
 *   endpoint       by default https://ACCOUNT.blob.core.windows.net; https when not said. An address
 *                  or a name without dots (Azurite) has the account in its path:
 *                  http://127.0.0.1:10000/ACCOUNT, where "/ACCOUNT" may be left out
 *   access-tier    Hot, Cool or Cold: of new objects
 *   ca-file, proxy, insecure (true | false)      see common/http/http.h
 *
 * Who we are: common/credential/credential.h. A SAS or a token is never sent without TLS but to this
 * host itself.
 *
 * Objects of more than AZBLOB_BLOCK_BYTES are uploaded in blocks of that size, AZBLOB_IN_FLIGHT at
 * once; smaller ones in one request at commit (at seal, in one block, from AZBLOB_SEAL_BYTES on).
 * Every upload carries its MD5, which the service checks. Commit never replaces an object. Blocks
 * without commit are seen by nobody, and the service drops them after a week: there is nothing to
 * sweep.
 */
#include "common/storage/storage.h"
#include "common/storage/url.h"

#define AZBLOB_BLOCK_BYTES  ((size_t)8 << 20)
#define AZBLOB_BLOCKS_MAX   10000
#define AZBLOB_IN_FLIGHT    4
#define AZBLOB_SEAL_BYTES   ((size_t)1 << 20)
#define AZBLOB_LIST_PAGE    2000
#define AZBLOB_REMOVE_BATCH 256  /* the service's own bound */
#define AZBLOB_KEY_MAX      1024 /* prefix and name */

int azblob_open(const struct storage_url *url, const struct storage_options *options,
                struct storage **ret, struct tm_err *err) TM_WUR;

#endif
