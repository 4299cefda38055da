/* Stream bytes and the text that people read. */
#include "agent/engine/postgres/pg.h"
#include "agent/engine/postgres/wal.h"

void pg_position_text(uint64_t byte, char ret[ENGINE_POSITION_MAX])
{
    (void)pg_lsn_format(byte, ret);
}

int pg_position_parse(const char *text, uint64_t *ret_byte, struct tm_err *err)
{
    return pg_lsn_parse(text, ret_byte, err);
}
