"""Take the protos of Envoy's rate limit service out of the package that carries them.

`python tools/take_envoy_protos.py` writes `sidecar/rpc/envoy_rls.binpb`; with `--check` it writes nothing, and exits 1
if what is committed is not what the pinned package gives. The package is put into a folder that is then thrown away:
why it is no dependency is told in docs/adr/0018-envoys-protos-as-descriptors.md.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import any_pb2, descriptor_pb2, duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "requirements" / "protos.txt"
TARGET = ROOT / "sidecar" / "rpc" / "envoy_rls.binpb"
MODULE = "envoy.service.ratelimit.v3.rls_pb2"

# These come with protobuf, for whoever loads the set; to name them here makes them known before the package's own.
PROTOBUFS_OWN = {
    module.DESCRIPTOR.name
    for module in (any_pb2, descriptor_pb2, duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
}


def with_imports(file: FileDescriptor, found: dict[str, FileDescriptor]) -> dict[str, FileDescriptor]:
    """Return a file and all that it imports, each after its own imports."""
    if file.name not in found and file.name not in PROTOBUFS_OWN:
        for needed in file.dependencies:
            with_imports(needed, found)
        found[file.name] = file
    return found


def taken() -> bytes:
    """Return the set of the files that define the service, from the pinned package."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps",
                "--require-hashes", "--target", folder, "--requirement", str(PINS),
            ],
            check=True,
        )  # fmt: skip
        # Another package may be called `envoy`, too; protobuf's own `google`, which is loaded, stays that of protobuf.
        sys.path.insert(0, folder)
        file = importlib.import_module(MODULE).DESCRIPTOR
        files = with_imports(file, {}).values()
        protos = [descriptor_pb2.FileDescriptorProto.FromString(each.serialized_pb) for each in files]
        return descriptor_pb2.FileDescriptorSet(file=protos).SerializeToString(deterministic=True)


def main() -> int:
    """Take them, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    if not parser.parse_args().check:
        TARGET.write_bytes(taken())
        return 0
    if taken() == TARGET.read_bytes():
        return 0
    print(f"stale: {TARGET.relative_to(ROOT)} (run `make proto-envoy` and commit)", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
