#ifndef TM_TESTS_UNIT_PROTO_SPEC_SPEC_STAGE_H
#define TM_TESTS_UNIT_PROTO_SPEC_SPEC_STAGE_H
/* How the tests beside it write specs, and read them. */
#include "proto/spec/spec.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include "common/clock.h"
#include "common/size.h"

#define BACKUP_HEAD                                                                                \
    "apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: x}\nspec:\n" /* spec begins in 5 */
#define RESTORE_HEAD  "apiVersion: tidemark/v1\nkind: Restore\nmetadata: {name: x}\nspec:\n"
#define SCHEDULE_HEAD "apiVersion: tidemark/v1\nkind: BackupSchedule\nmetadata: {name: x}\nspec:\n"
#define COMPACT_HEAD  "apiVersion: tidemark/v1\nkind: CompactBackup\nmetadata: {name: x}\nspec:\n"
#define GOOD          "  br: {cluster: test}\n  local: {path: /x}\n"

static TM_UNUSED void parse(const char *text, struct resource_list *list)
{
    struct tm_err err = {0};
    if (resource_parse("s.yaml", slice_str(text), list, &err) < 0)
        fail_msg("%s", err.msg);
}

static TM_UNUSED struct resource *parse_one(const char *text)
{
    TM_CLEANUP(resource_list_release) struct resource_list list = RESOURCE_LIST_INIT;
    parse(text, &list);
    assert_int_equal(list.count, 1);
    return TM_TAKE(list.items[0]);
}

/* A full backup as the TiDB Operator's documents write it. */
static TM_UNUSED const char operator_spec[] =
    "---\n"
    "apiVersion: pingcap.com/v1alpha1\n"
    "kind: Backup\n"
    "metadata:\n"
    "  name: demo1-full-backup-nfs\n"
    "  namespace: test1\n"
    "  annotations: {note: x}\n"
    "spec:\n"
    "  backupType: full\n"
    "  from: {host: tidb, port: 4000, user: root, secretName: s}\n"
    "  tikvGCLifeTime: 72h\n"
    "  toolImage: pingcap/br:v8.5.2\n"
    "  serviceAccount: tidb-backup-manager\n"
    "  podSecurityContext: {runAsUser: 0}\n"
    "  env: [{name: A, value: b}]\n"
    "  resources: {limits: {cpu: 0.5}}\n"
    "  cleanPolicy: Delete\n"
    "  br:\n"
    "    cluster: demo1\n"
    "    clusterNamespace: test1\n"
    "    logLevel: info\n"
    "    sendCredToTikv: true\n"
    "    options: [--gcttl=54000, --lastbackupts=420134118382]\n"
    "  local:\n"
    "    prefix: backup-nfs\n"
    "    volume: {name: nfs, nfs: {server: h, path: /nfs}}\n"
    "    volumeMount: {name: nfs, mountPath: /nfs}\n";

#endif
