#ifndef TM_COMMON_STORAGE_S3_S3_H
#define TM_COMMON_STORAGE_S3_S3_H
/*
 * Storage in a bucket of S3 or of a store that speaks it.
 *
 *     s3://bucket/prefix?provider=…&region=…&endpoint=…
 *
 *   provider          aws, minio, ceph, swift, seaweedfs, alibaba (oss), tencent (cos), huawei (obs),
 *                     netease, gcs, digitalocean, wasabi, ibmcos, dreamhost, stackpath, other; by
 *                     default by the endpoint's form, else other, or aws without endpoint; aws with
 *                     an endpoint that is not Amazon's is other
 *   region            by default as the endpoint says, else the provider's (us-east-1)
 *   endpoint          https://host:port (https when not said); by default the provider's
 *   force-path-style  true: https://host/bucket/key; false: https://bucket.host/key; by default the
 *                     provider's way; always the first for an address instead of a name, and for a
 *                     bucket with dots over https
 *   storage-class, acl, sse (AES256 | aws:kms), sse-kms-key-id      of new objects
 *   ca-file, proxy, insecure (true | false)                         see common/http/http.h
 *
 * Objects of more than S3_PART_BYTES are uploaded in parts of that size, S3_PARTS_IN_FLIGHT at once;
 * smaller ones in one request at commit (at seal, in one part, from S3_SEAL_PART_BYTES on). Every
 * upload carries its MD5, and the ETag answered must be that.
 *
 * Names are removed S3_REMOVE_BATCH at once, or as many as the provider's preset says; fewer when no
 * answer came in time.
 *
 * Commit never replaces where the store has conditional create: known for AWS, found out with the
 * first small object elsewhere, remembered for the process and the bucket. Elsewhere it asks before.
 *
 * With sse, an object whose encryption the store does not confirm is not created: TM_E_UNSUPPORTED.
 *
 * Removing leaves a bucket with object lock without any version of the object; what a retention or a
 * legal hold keeps is TM_E_REFUSED (lock.c). In any other bucket with versions it is hidden by a mark,
 * as those who run the bucket mean it to be.
 */
#include "common/storage/storage.h"
#include "common/storage/url.h"

#define S3_PART_BYTES      ((size_t)8 << 20)
#define S3_PARTS_MAX       10000
#define S3_PARTS_IN_FLIGHT 4
#define S3_SEAL_PART_BYTES ((size_t)1 << 20)
#define S3_LIST_PAGE       1000
#define S3_REMOVE_BATCH    1000
#define S3_KEY_MAX         1024 /* prefix and name */

int s3_open(const struct storage_url *url, const struct storage_options *options,
            struct storage **ret, struct tm_err *err) TM_WUR;

#endif
