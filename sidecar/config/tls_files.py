"""The files for TLS that settings name: what cannot be read must be found at the start, and not by a call."""

from __future__ import annotations

import ssl
from pathlib import Path

from sidecar.errors import StartupError


def read_file(path: str, file: str) -> bytes:
    """Return what the file that the setting at `path` names holds; raises `StartupError`."""
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise StartupError(f"{path}: {file}: {error.strerror}") from None


def trusting(path: str, file: str) -> ssl.SSLContext:
    """Return what trusts the authorities in a file; raises `StartupError` if there are none."""
    try:
        return ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        raise StartupError(f"{path}: {file}: holds no certificates (PEM)") from None
    except OSError as error:
        raise StartupError(f"{path}: {file}: {error.strerror}") from None


def roots(path: str, file: str) -> bytes:
    """Return the authorities in a file as they stand there; raises `StartupError` if there are none."""
    trusting(path, file)
    return read_file(path, file)
