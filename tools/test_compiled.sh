#!/bin/sh
# Tests what mypyc makes of the sources: builds the compiled wheel, installs it into an environment of its own, and runs there
# the tests that go through its modules; the attacks too, unless the argument is --brief. Other arguments are pytest's, in place
# of that choice.
#
# The tests run in a folder that has them but no sources, so that the wheel's `sidecar` is the only one.
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
uv="$source/.venv/bin/uv -q --no-config"

echo "== build"
cd "$source"
PYTHON=.venv/bin/python tools/build_wheel.sh compiled "$root/wheel"
$uv venv --python .venv/bin/python "$root/venv"
python="$root/venv/bin/python"
$uv pip install --python "$python" --require-hashes -r requirements/dev.txt
$uv pip install --python "$python" --no-deps "$root"/wheel/*.whl

mkdir "$root/project"
cp -R tests examples proto docs pyproject.toml "$root/project"
mkdir -p "$root/project/clients"
cp -R clients/python "$root/project/clients"
cd "$root/project"

"$python" - <<'END'
from importlib import import_module
from importlib.metadata import files

extensions = [file for file in files("sidecar") if file.suffix == ".so" and file.parent.parts]
assert extensions, "nothing is compiled"
for file in extensions:
    module = import_module(".".join((*file.parent.parts, file.name.partition(".")[0])))
    assert module.__file__ == str(file.locate()), f"{module.__name__} comes from {module.__file__}"
print(f"== test {len(extensions)} compiled modules")
END

run() {
  "$python" -m pytest -q -p no:cacheprovider "$@"
}

case ${1:-} in
  "" | --brief)
    run -n 2 --dist worksteal tests/unit/h2 tests/unit/test_link.py tests/integration/test_pool_faults.py \
      tests/integration/test_pool_misfortunes.py tests/contract/test_engines.py
    [ $# = 1 ] || run tests/attacks -k fast
    ;;
  *) run "$@" ;;
esac
