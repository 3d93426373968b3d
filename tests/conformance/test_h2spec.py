"""h2spec, which knows HTTP/2 and no gRPC: it sends GET and POST requests of plain HTTP to a gRPC server.

On the fast engine every case must pass but those below. grpcio is not tried: it resets the stream of whatever has no
gRPC content type, so h2spec waits two seconds for most of its answers (88 of 145 cases fail), and none of that is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from conformance import toolbox
from conformance.plan import PlanService
from conformance.running import gathering, run, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A request that is no gRPC is answered as soon as its headers are there. What h2spec sends after them must come with
# them, or it reaches a stream that is over and tests nothing.
GATHERED_SECONDS = 0.02
# h2spec takes 15 s, of which it waits 2 for each case that does not apply.
SUITE_SECONDS = 120
# Its HPACK encoder goes on using a dynamic table of 4096 bytes, though the server allows none. A header of more than
# those is not put there, so the test of CONTINUATION frames then tests them.
MAX_HEADER_LENGTH = 5000

NO_CONTENT = (
    "It waits for DATA, and a request that is no gRPC is refused without content: an HTTP message has 'zero or more "
    "DATA frames containing the message content' (RFC 9113, section 8.1). test_grpc_on_the_wire.py asks it of a call."
)
NO_TABLE = (
    "It sets the dynamic table to a size above the limit that the server has set, 0, and expects an answer. 'The new "
    "maximum size MUST be lower than or equal to the limit determined by the protocol using HPACK. A value that "
    "exceeds this limit MUST be treated as a decoding error' (RFC 7541, section 6.3)."
)
# The cases that do not apply, each with the RFC's words why.
EXEMPT = {
    "generic/2: Sends a WINDOW_UPDATE frame on half-closed (remote) stream": NO_CONTENT,
    "generic/2: Sends a PRIORITY frame on half-closed (remote) stream": NO_CONTENT,
    "generic/5: Sends a dynamic table size update": NO_TABLE,
    "generic/5: Sends multiple dynamic table size update": NO_TABLE,
    "http2/6.5.3: Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE": NO_CONTENT,
    "http2/6.9.1: Sends SETTINGS frame to set the initial window size to 1 and sends HEADERS frame": NO_CONTENT,
    "http2/6.9.2: Changes SETTINGS_INITIAL_WINDOW_SIZE after sending HEADERS frame": NO_CONTENT,
    "http2/6.9.2: Sends a SETTINGS frame for window size to be negative": NO_CONTENT,
}


@pytest.mark.timeout(1000)
async def test_every_case_that_applies_passes(tmp_path: Path) -> None:
    """And none that is said not to apply."""
    h2spec = toolbox.h2spec()
    report = tmp_path / "report.xml"
    async with serving("fast", PlanService().table()) as served, gathering(served, GATHERED_SECONDS) as address:
        host, _, port = address.rpartition(":")
        where = ("--host", host, "--port", port, "--path", "/conformance.Plan/Echo")
        how = ("--strict", "--max-header-length", str(MAX_HEADER_LENGTH), "--junit-report", str(report))
        done = await run([str(h2spec), *where, *how], SUITE_SECONDS)
    assert report.exists(), done.output
    passed = dict(_cases(report))
    assert len(passed) > 140, done.output
    failed = {case for case, good in passed.items() if not good} - EXEMPT.keys()
    good_anyway = {case for case in EXEMPT if passed[case]}
    assert (set(), set()) == (failed, good_anyway), done.output


def _cases(report: Path) -> Iterator[tuple[str, bool]]:
    """Return each case and whether it passed; what was skipped did not."""
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 (h2spec's own report)
        yield f"{case.get('package')}: {case.get('classname')}", len(case) == 0
