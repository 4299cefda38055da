#!/usr/bin/env bash
# All of tests/integration/pg_resume_test.sh on every version, with page checksums and without. About 20 minutes.
#
#   pg_resume_test.sh [MAJOR…]     default: 13 to 18
set -euo pipefail
cd "$(dirname "$0")/../integration"
[ $# -gt 0 ] || set -- 13 14 15 16 17 18
for checksums in on off; do
    PG_RESUME_CHECKSUMS=$checksums ./pg_resume_test.sh "$@"
done
