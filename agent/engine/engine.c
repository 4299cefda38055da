/* The engines this program knows, by name. */
#include "agent/engine/engine.h"

#include <string.h>

#include "agent/engine/null/mock.h"
#include "agent/engine/null/null.h"
#include "agent/engine/postgres/pg.h"

const struct engine_ops *engine_find(const char *name)
{
    static const struct engine_ops *const engines[] = {&postgres_engine, &null_engine,
                                                       &mock_engine};
    for (size_t n = 0; n < TM_ARRAY_LEN(engines); n++)
        if (strcmp(engines[n]->name, name) == 0)
            return engines[n];
    return NULL;
}
