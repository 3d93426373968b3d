"""Why a connection could not be made, in words for who operates both ends: short, and without addresses."""

from __future__ import annotations

import os
import socket
import ssl


def why_not(error: OSError) -> str:
    """Return what the system or the TLS library says, without the addresses that asyncio adds."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'unknown').lower().replace('_', ' ')}"
    if isinstance(error, socket.gaierror):
        return "its host name does not resolve"
    said = os.strerror(error.errno) if error.errno else error.strerror or type(error).__name__
    return said.partition(":")[0].lower()
