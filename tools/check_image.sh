#!/bin/sh
# Runs the steps of the Dockerfile without a container engine: install from the lock into an empty environment, build and
# install the wheel, and serve as an unprivileged user who may write to the state directory alone.
#
# check_image.sh [pure|compiled|auto]: which wheel, as the Dockerfile's WHEEL (default: auto, compiled if there is a compiler).
#
# As root it becomes user 10001, as the image does, if there is a Python that this one may run: one in a home of root's is
# not. Otherwise it stays the user it is.
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
kind=${1:-auto}
root=$(mktemp -d)
sidecar_pid=
trap 'test -z "$sidecar_pid" || kill "$sidecar_pid" 2>/dev/null || true; rm -rf "$root"' EXIT
chmod 755 "$root"

as=
python=python3
if [ "$(id -u)" = 0 ]; then
  drop="setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs"
  for candidate in "$(python3 -c 'import os, sys; print(os.path.realpath(sys.executable))')" /usr/bin/python3; do
    # By a shell: it is that user who must be able to start it, and not setpriv.
    if $drop sh -c '"$0" -c "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"' "$candidate" 2>/dev/null; then
      as=$drop python=$candidate
      break
    fi
  done
fi

echo "== build"
mkdir -p "$root/src/tools"
cp "$source/tools/build_wheel.sh" "$source/tools/compile_hook.py" "$root/src/tools"
cp -R "$source/requirements" "$source/sidecar" "$source/pyproject.toml" "$source/README.md" "$source/CHANGELOG.md" \
  "$source/LICENSE" "$root/src"
cd "$root/src"
"$python" -m venv "$root/opt"
"$python" -m venv "$root/build"
"$root/build/bin/pip" -q --disable-pip-version-check install --require-hashes -r requirements/build.txt \
  -r requirements/compile.txt
"$root/opt/bin/pip" -q --disable-pip-version-check install --require-hashes -r requirements/runtime.txt
PYTHON="$root/build/bin/python" tools/build_wheel.sh "$kind" "$root/wheel"
"$root/opt/bin/pip" -q --disable-pip-version-check install --no-deps "$root"/wheel/*.whl
wheel=$(basename "$root"/wheel/*.whl)
rm -rf "$root/src"
touch "$root/installed"

echo "== run"
mkdir -m 0700 "$root/state"
[ -z "$as" ] || chown 10001:10001 "$root/state"
cd /
port=$("$root/opt/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export SIDECAR_STATE_DIR="$root/state" SIDECAR_LISTEN="127.0.0.1:$port" SIDECAR_TELEMETRY__METRICS__ADDRESS=null
export PYTHONDONTWRITEBYTECODE=1 HOME=/nonexistent
$as "$root/opt/bin/sidecar" serve &
sidecar_pid=$!
tries=0
until $as "$root/opt/bin/sidecar" health 2>/dev/null; do
  tries=$((tries + 1))
  [ "$tries" -lt 50 ] && kill -0 "$sidecar_pid" || { echo "the sidecar did not become healthy" >&2; exit 1; }
  sleep 0.2
done
user=$(stat -c %u "/proc/$sidecar_pid")
echo "healthy, as user $user"
case $wheel in
  *-none-any.whl) echo "pure Python" ;;
  *)
    grep -q sidecar__mypyc "/proc/$sidecar_pid/maps" || { echo "what $wheel has compiled is not what runs" >&2; exit 1; }
    echo "compiled"
    ;;
esac
kill -TERM "$sidecar_pid"
code=0
wait "$sidecar_pid" || code=$?
sidecar_pid=
[ "$code" = 0 ] || { echo "the sidecar ended with $code" >&2; exit 1; }
left=$(find "$root/opt" -newer "$root/installed" -name '*.pyc' | head -1)
[ -z "$left" ] || { echo "it wrote outside its state directory: $left" >&2; exit 1; }
echo "ended with 0; nothing written outside the state directory"
