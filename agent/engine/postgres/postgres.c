/* The engine's table: who does what. Nothing else. */
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/restore.h"

const struct engine_ops postgres_engine = {
    .name = "postgres",
    .caps = ENGINE_CAP_HOLD | ENGINE_CAP_LOG,

    .describe = pg_describe,
    .check = pg_check,
    .session_open = pg_session_open,
    .snapshot_begin = pg_snapshot_begin,
    .hold_advance = pg_hold_advance,
    .session_ping = pg_session_ping,
    .snapshot_end = pg_snapshot_end,
    .session_close = pg_session_close,
    .session_cancel = pg_session_cancel,

    .reader_open = pg_reader_open,
    .plan = pg_plan,
    .read_range = pg_read_range,
    .final_key = pg_final_key,
    .read_final = pg_read_final,
    .reader_close = pg_reader_close,

    .log_position = pg_log_position,
    .log_open = pg_log_open,
    .log_next = pg_log_next,
    .log_close = pg_log_close,

    .log_describe = pg_log_describe,
    .log_history = pg_log_history,
    .log_read_file = pg_log_read_file,
    .hold_open = pg_hold_open,
    .hold_look = pg_hold_look,
    .hold_touch = pg_hold_touch,
    .hold_drop = pg_hold_drop,
    .hold_close = pg_hold_close,
    .index_open = pg_index_open,
    .index_push = pg_index_push,
    .index_take = pg_index_take,
    .index_close = pg_index_close,
    .log_last_record = pg_log_last_record,
    .position_text = pg_position_text,
    .position_parse = pg_position_parse,

    .restore_open = pg_restore_open,
    .restore_prepare = pg_restore_prepare,
    .restore_file = pg_restore_file,
    .restore_check_log = pg_restore_check_log,
    .restore_check_index = pg_restore_check_index,
    .restore_log = pg_restore_log,
    .restore_manifest_file = pg_restore_manifest_file,
    .restore_finish = pg_restore_finish,
    .restore_start = pg_restore_start,
    .restore_replayed = pg_restore_replayed,
    .restore_close = pg_restore_close,
};
