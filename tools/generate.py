"""Generate everything that is generated: protobuf modules, client stubs, the configuration's JSON schema.

`python tools/generate.py` writes; `python tools/generate.py --check` writes elsewhere, compares, and exits 1 if what is
committed is stale.

protoc's Python plugins import by the protos' own path (`from sidecar.v1 import cache_pb2`), which would claim the
package `sidecar` for itself. The generated trees are packages below others, so their imports are made relative here.
`grpc_python` is not one of the plugins that buf can call, so protoc makes the client's stubs.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
SERVER_TREE = Path("sidecar/gen")
CLIENT_TREE = Path("clients/python/sidecar_client/gen")
SCHEMA = Path("docs/sidecar.schema.json")

_ABSOLUTE_IMPORT = re.compile(r"^from sidecar\.v1 import ", re.MULTILINE)


def run(*command: str) -> None:
    """Run a generator with the virtual environment's programs first on the path."""
    programs = str(Path(sys.executable).parent)
    path = os.pathsep.join([programs, os.environ.get("PATH", "")])
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PATH": path})


def generate_protobuf(out: Path) -> None:
    """Write both protobuf trees below `out`."""
    run("buf", "generate", "--output", str(out))
    protos = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    stubs = out / CLIENT_TREE
    run(
        sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--grpc_python_out={stubs}", *protos
    )  # fmt: skip
    for path in stubs.rglob("*_pb2_grpc.py"):
        if "class " not in path.read_text():
            path.unlink()  # a proto without a service
            path.with_suffix(".pyi").unlink()
    for tree in (SERVER_TREE, CLIENT_TREE):
        make_importable(out / tree)


def make_importable(tree: Path) -> None:
    """Make a generated tree a package whose modules find each other wherever it lies."""
    for folder in {path.parent for path in tree.rglob("*_pb2.py")} | {tree, tree / "sidecar"}:
        (folder / "__init__.py").write_text('"""Generated from proto/ by `make proto`."""\n')
    for path in [*tree.rglob("*.py"), *tree.rglob("*.pyi")]:
        path.write_text(_ABSOLUTE_IMPORT.sub("from . import ", path.read_text()))


def generate_schema(out: Path) -> None:
    """Write the JSON schema of the configuration below `out`."""
    from sidecar.config.schema import render_schema  # noqa: PLC0415 (needs the protobuf modules)

    target = out / SCHEMA
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(render_schema())


def generate(out: Path) -> None:
    """Write all generated files below `out`."""
    generate_protobuf(out)
    generate_schema(out)


def stale(fresh: Path) -> list[str]:
    """Return the generated files below `fresh` that the checkout lacks or has otherwise, and its left-overs."""
    made = {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()}
    kept = {
        path.relative_to(ROOT)
        for tree in (SERVER_TREE, CLIENT_TREE)
        for path in (ROOT / tree).rglob("*.py*")
        if "__pycache__" not in path.parts
    }
    differing = {
        path for path in made if not (ROOT / path).exists() or not filecmp.cmp(fresh / path, ROOT / path, shallow=False)
    }
    return sorted(str(path) for path in differing | (kept - made))


def main() -> int:
    """Generate, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        paths = stale(Path(scratch))
    for path in paths:
        print(f"stale: {path} (run `make proto` and commit)", file=sys.stderr)
    return 1 if paths else 0


if __name__ == "__main__":
    sys.exit(main())
