#!/bin/sh
# Pins one set of dependencies: lock.sh build|compile|runtime|dev|fuzz|protos. Hashes for every platform, and no index in the file.
set -eu
cd "$(dirname "$0")/.."
options="--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet"
case $1 in
  build) set -- requirements/build.in -o requirements/build.txt ;;
  compile) set -- -c requirements/dev.txt requirements/compile.in -o requirements/compile.txt ;;
  runtime) set -- pyproject.toml -o requirements/runtime.txt ;;
  dev) set -- --extra dev -c requirements/runtime.txt pyproject.toml -o requirements/dev.txt ;;
  fuzz) set -- requirements/fuzz.in -o requirements/fuzz.txt ;;
  protos) set -- --no-deps requirements/protos.in -o requirements/protos.txt ;;
  *) echo "usage: lock.sh build|compile|runtime|dev|fuzz|protos" >&2; exit 2 ;;
esac
# shellcheck disable=SC2086
exec .venv/bin/uv pip compile $options "$@"
