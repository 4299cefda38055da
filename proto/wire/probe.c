/* The words for the parts of a storage test. */
#include "proto/wire/messages.h"

const char *probe_step_text(unsigned step)
{
    static const char *const texts[] = {
        [PROBE_OPEN] = "open",     [PROBE_PUT] = "write",
        [PROBE_GET] = "read",      [PROBE_RANGE] = "range",
        [PROBE_LIST] = "list",     [PROBE_AGAIN] = "create again",
        [PROBE_UPLOAD] = "upload", [PROBE_DOWNLOAD] = "download",
        [PROBE_REMOVE] = "delete", [PROBE_GONE] = "list after delete",
    };
    return step < TM_ARRAY_LEN(texts) && texts[step] != NULL ? texts[step] : "step";
}

const char *probe_outcome_text(unsigned outcome)
{
    static const char *const texts[] = {
        [PROBE_SKIPPED] = "skipped",
        [PROBE_OK] = "ok",
        [PROBE_FAILED] = "failed",
        [PROBE_RUNNING] = "hangs",
    };
    return outcome < TM_ARRAY_LEN(texts) && texts[outcome] != NULL ? texts[outcome] : "unknown";
}
