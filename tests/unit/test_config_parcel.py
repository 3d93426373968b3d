"""What one process of a sidecar hands to another: its own classes and nothing that does anything."""

from __future__ import annotations

import os
import pickle
import subprocess

import pytest

from sidecar.config.parcel import pack, unpack
from sidecar.config.quantities import Duration


def test_what_is_packed_comes_out() -> None:
    """Plain data, and the sidecar's own classes."""
    content = {"ttl": Duration(5), "names": ("a", "b"), "none": None}
    assert content == unpack(pack(content))


class _Calls:
    """Pickled as a call of a function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self._call


@pytest.mark.parametrize(
    "content", [_Calls(os.putenv, "SIDECAR_PARCEL", "1"), _Calls(subprocess.Popen, ["true"]), _Calls(unpack, b"")]
)
def test_a_call_is_refused(content: _Calls) -> None:
    """Whatever function it names, also one of the sidecar's."""
    with pytest.raises(ValueError, match="not a parcel"):
        unpack(pickle.dumps(content))


def test_a_function_reached_through_one_of_our_modules_is_refused() -> None:
    """By a dotted name, or as something that a module of ours has imported."""
    for module, name in (("sidecar.cli", "os.system"), ("sidecar.config.reading", "Path"), ("sidecar.config", "load")):
        protocol_0 = f"c{module}\n{name}\n.".encode()
        with pytest.raises(ValueError, match="not a parcel"):
            unpack(protocol_0)


def test_a_class_that_is_no_data_is_refused_and_its_module_not_imported() -> None:
    """Though it is the sidecar's: to make one could do something, and so could the import of a program."""
    for module, name in (("sidecar.__main__", "main"), ("sidecar.cli", "_Parser"), ("sidecar.configs", "Settings")):
        with pytest.raises(ValueError, match="not a parcel"):
            unpack(f"c{module}\n{name}\n.".encode())


@pytest.mark.parametrize("parcel", [b"", b"\x80", b"{}"])
def test_what_is_no_pickle_is_refused(parcel: bytes) -> None:
    """With one kind of error."""
    with pytest.raises(ValueError, match="not a parcel"):
        unpack(parcel)
