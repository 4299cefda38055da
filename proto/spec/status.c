/* The status record's field tables. */
#include "proto/spec/status.h"

CODEC_DEFINE(status_condition, "condition", STATUS_CONDITION_FIELDS);
CODEC_DEFINE(status_error, "lastError", STATUS_ERROR_FIELDS);
CODEC_DEFINE(status_problem, "problem", STATUS_PROBLEM_FIELDS);
CODEC_DEFINE(resource_status, "status", RESOURCE_STATUS_FIELDS);
