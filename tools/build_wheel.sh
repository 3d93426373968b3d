#!/bin/sh
# Builds the wheel: build_wheel.sh pure|compiled|auto FOLDER, with the packages of the interpreter in $PYTHON.
#
# Compiled, it fits this platform and this version of Python alone, and takes half a minute, a C compiler and the packages of
# requirements/compile.txt. `auto` compiles where there is a compiler, and says so where there is none.
set -eu
usage() {
  echo "usage: build_wheel.sh pure|compiled|auto FOLDER" >&2
  exit 2
}
[ $# = 2 ] || usage
kind=$1
folder=$2
python=${PYTHON:-python3}

can_compile() {
  "$python" - <<'END'
import os, pathlib, shutil, sys, sysconfig

compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
headers = pathlib.Path(sysconfig.get_path("include"), "Python.h")
sys.exit(shutil.which(compiler.split()[0]) is None or not headers.exists())
END
}

if [ "$kind" = auto ]; then
  if can_compile; then
    kind=compiled
  else
    echo "no C compiler, or no headers of Python's: the wheel is pure Python, and calls cost more" >&2
    kind=pure
  fi
fi
case $kind in
  pure) unset HATCH_BUILD_HOOKS_ENABLE HATCH_BUILD_HOOK_ENABLE_CUSTOM ;;
  compiled) export HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 ;;
  *) usage ;;
esac
exec "$python" -m hatchling build -t wheel -d "$folder"
