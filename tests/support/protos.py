"""The comments of the .proto files; a descriptor at run time has none, so they are compiled again with them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from google.protobuf import descriptor_pb2

ROOT = Path(__file__).parent.parent.parent / "proto"

# Numbers of the fields of descriptor.proto that a location's path is made of.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 4, 5, 6
_MESSAGE_FIELD, _MESSAGE_NESTED, _MESSAGE_ENUM, _MESSAGE_ONEOF = 2, 3, 4, 8
_ENUM_VALUE, _SERVICE_METHOD = 2, 2

Path_ = tuple[int, ...]


@cache
def comments() -> dict[tuple[str, str], str]:
    """Return the comment above each symbol, empty if there is none.

    A key is a message, enum or service with its full name, and the name of a part of it, or "" for itself.
    """
    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "descriptors"
        subprocess.run(
            [
                sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}", "--include_source_info",
                f"--descriptor_set_out={output}", *sources,
            ],
            check=True,
        )  # fmt: skip
        files = descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes())
    found: dict[tuple[str, str], str] = {}
    for file in files.file:
        written = {
            tuple(location.path): location.leading_comments.replace("\n ", "\n").strip()
            for location in file.source_code_info.location
        }
        for symbol, path in _symbols(file):
            found[symbol] = written.get(path, "")
    return found


def comment_of(owner: str, part: str = "") -> str:
    """Return the comment above a symbol."""
    return comments()[owner, part]


def _symbols(file: descriptor_pb2.FileDescriptorProto) -> list[tuple[tuple[str, str], Path_]]:
    symbols: list[tuple[tuple[str, str], Path_]] = []
    for number, message in enumerate(file.message_type):
        symbols += _of_message(f"{file.package}.{message.name}", message, (_FILE_MESSAGE, number))
    for number, enum in enumerate(file.enum_type):
        symbols += _of_enum(f"{file.package}.{enum.name}", enum, (_FILE_ENUM, number))
    for number, service in enumerate(file.service):
        name, path = f"{file.package}.{service.name}", (_FILE_SERVICE, number)
        symbols.append(((name, ""), path))
        symbols += [
            ((name, method.name), (*path, _SERVICE_METHOD, index)) for index, method in enumerate(service.method)
        ]
    return symbols


def _of_message(name: str, message: descriptor_pb2.DescriptorProto, path: Path_) -> list[tuple[tuple[str, str], Path_]]:
    if message.options.map_entry:
        return []  # made by the compiler
    symbols = [((name, ""), path)]
    symbols += [((name, field.name), (*path, _MESSAGE_FIELD, number)) for number, field in enumerate(message.field)]
    # A field that is `optional` gets a oneof from the compiler, after those of the source.
    made = sum(field.proto3_optional for field in message.field)
    for number, oneof in enumerate(message.oneof_decl[: len(message.oneof_decl) - made]):
        symbols.append(((name, oneof.name), (*path, _MESSAGE_ONEOF, number)))
    for number, nested in enumerate(message.nested_type):
        symbols += _of_message(f"{name}.{nested.name}", nested, (*path, _MESSAGE_NESTED, number))
    for number, enum in enumerate(message.enum_type):
        symbols += _of_enum(f"{name}.{enum.name}", enum, (*path, _MESSAGE_ENUM, number))
    return symbols


def _of_enum(name: str, enum: descriptor_pb2.EnumDescriptorProto, path: Path_) -> list[tuple[tuple[str, str], Path_]]:
    values = [((name, value.name), (*path, _ENUM_VALUE, number)) for number, value in enumerate(enum.value)]
    return [((name, ""), path), *values]
