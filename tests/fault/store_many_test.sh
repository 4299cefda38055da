#!/usr/bin/env bash
# 100,000 objects below one backup in an object store, listed and deleted in 64 MiB: tests/integration/store_many_test.sh.
MANY_OBJECTS=${MANY_OBJECTS:-100000} exec "$(dirname "$0")/../integration/store_many_test.sh"
