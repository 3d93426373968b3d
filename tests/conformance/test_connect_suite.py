"""connectrpc's conformance suite, in server mode: gRPC on HTTP/2 without TLS, identity and gzip, protobuf.

The suite's other axes are not this server's: Connect and gRPC-Web, HTTP/1.1 and HTTP/3, JSON messages, TLS.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from conformance import toolbox
from conformance.running import run

_ROOT = Path(__file__).resolve().parent.parent.parent
CONFIGURATION = """\
features:
  versions: [HTTP_VERSION_2]
  protocols: [PROTOCOL_GRPC]
  codecs: [CODEC_PROTO]
  compressions: [COMPRESSION_IDENTITY, COMPRESSION_GZIP]
  supports_tls: false
  supports_message_receive_limit: true
"""
# The suite takes 3 s; with a server that hangs it waits 20 s for each case.
SUITE_SECONDS = 200
# What grpcio cannot do; the suite fails if one of these passes.
FAILS_ON_GRPCIO = {
    "**/multiple-requests": "it takes the first message and ignores the others",
    "**/incomplete-message": "it takes the end within a message for the end of the messages",
    "**/incomplete-message-prefix": "as above",
    "**/unexpected-codec": "it takes every content type that begins with application/grpc",
    "**/unexpected-content-type": "it resets the stream, where HTTP 415 is due",
    "**/request-equal-to-server-limit": "the engine holds answers to the limit too, and the suite's echo is longer",
    "**/all-requests-equal-to-server-limit": "as above",
}
# What must not be tried there, because other cases fail by it.
SPOILS_GRPCIO = {
    "**/no-request": "it waits for a message that cannot come any more, and the suite gives up after 20 s",
    "**/unexpected-compression": "afterwards it refuses good encodings too that come on the same connection",
}


# The runner is built in the first test.
@pytest.mark.timeout(1000)
async def test_every_case_passes(engine: str, tmp_path: Path) -> None:
    """But those that grpcio is known to fail."""
    runner, descriptors = toolbox.connectconformance(), toolbox.connect_protos()
    configuration = tmp_path / "configuration.yaml"
    configuration.write_text(CONFIGURATION)
    options = ["--mode", "server", "--conf", str(configuration)]
    if engine == "grpcio":
        options += [word for pattern in FAILS_ON_GRPCIO for word in ("--known-failing", pattern)]
        options += [word for pattern in SPOILS_GRPCIO for word in ("--skip", pattern)]
    server = [sys.executable, "-m", "conformance.connect_server", engine, str(descriptors)]
    paths = os.pathsep.join((str(_ROOT), str(_ROOT / "tests")))
    done = await run([str(runner), *options, "--", *server], SUITE_SECONDS, **{**os.environ, "PYTHONPATH": paths})
    total = re.search(r"^Total cases: (\d+)", done.output, re.MULTILINE)
    assert done.code == 0, done.output[-20_000:]
    assert total is not None, done.output
    assert int(total[1]) > 350, done.output
