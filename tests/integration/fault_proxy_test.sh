#!/usr/bin/env bash
# The fault proxy of the storage tests does what its rules say, and nothing else.
set -euo pipefail
exec python3 "$(dirname "$0")/fault_proxy_test.py"
