#!/bin/sh
# Runs all tests with coverage, in two parts, and fails if either does: first processes share the tests, as many as
# SIDECAR_TEST_PROCESSES says; then one process has the machine to itself for those that are marked `alone`.
set -u
cd "$(dirname "$0")/.."
bin=.venv/bin
failed=0

$bin/coverage erase
# Each process has its share of the tests in their order, and then some of another's last: so it makes the servers of a
# file or of a session once, and all end at the same time.
$bin/coverage run -m pytest -n "${SIDECAR_TEST_PROCESSES:-3}" --dist worksteal -m "not alone" || failed=1
$bin/coverage run -m pytest -m alone || failed=1
$bin/coverage combine -q || failed=1
$bin/coverage report || failed=1
exit $failed
