"""`sidecar cache warm`: loads entries of a running sidecar's cache from their origin, and shows how far it is.

On a terminal there is a bar on standard error; elsewhere a line there every few seconds, for whoever reads the log of a
deployment. What came of it is said on standard output, also where it ends early: by an error, or by Ctrl-C, which ends
the work in the sidecar too.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.errors import StartupError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from sidecar.remote import Remote

# A message holds a good deal more; a part that fails is found sooner if it is small.
_PART_KEYS = 5_000
_PART_BYTES = 1 << 20

_BAR_CHARS = 30
_LINE_SECONDS = 5.0


class Tally(NamedTuple):
    """What became of keys."""

    loaded: int = 0
    present: int = 0
    absent: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        """How many there were."""
        return sum(self)

    def plus(self, more: Tally) -> Tally:
        """Return both together."""
        return Tally(*(one + other for one, other in zip(self, more, strict=True)))

    def __str__(self) -> str:
        """Return them in words."""
        loaded, present, absent, failed = self
        return f"{loaded} loaded, {present} there already, {absent} not at the origin, {failed} failed"


def add_warm_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes beside an address."""
    parser.add_argument("cache", metavar="CACHE")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--file", type=Path, metavar="FILE", help="load the keys of this file, a key a line")
    what.add_argument("--key", action="append", metavar="KEY", help="load this key; again for more than one")
    what.add_argument("--configured", action="store_true", help="load what caches.CACHE.warm of the sidecar names")
    what.add_argument("--query", action="store_true", help="load the keys that caches.CACHE.warm.query returns")
    what.add_argument(
        "--from-cache", default="", metavar="OTHER", help="load what OTHER, which has l1, is asked for most"
    )
    parser.add_argument(
        "--limit", type=int, default=0, metavar="N", help="keys of a query or of OTHER at most (default: the cache's)"
    )
    parser.add_argument("--rate", type=int, default=0, metavar="N", help="keys a second at most (default: the cache's)")


def warm(remote: Remote, options: argparse.Namespace) -> int:
    """Warm a cache; raises `StartupError` for what is wrong with the file, cache or origin, and for failed keys."""
    from sidecar.gen.sidecar.v1 import cache_admin_pb2 as pb  # noqa: PLC0415 (as in cache_command)

    for name in ("rate", "limit"):
        if not 0 <= getattr(options, name) < 1 << 32:
            raise StartupError(f"sidecar cache warm: --{name}: must be a whole number of keys, such as 500")
    keys = options.key or ([] if options.file is None else _keys_in(options.file))
    if options.file is not None and not keys:
        raise StartupError(f"{options.file}: holds no key")
    service = pb.DESCRIPTOR.services_by_name["CacheAdminService"]
    done = _Done(len(keys))
    shown = _Shown(options.cache)
    try:
        for part in parts(keys) if keys else [[]]:
            request = pb.WarmRequest(
                cache=options.cache, keys=part, configured=options.configured, rate=options.rate,
                query=options.query, from_cache=options.from_cache, limit=options.limit,
            )  # fmt: skip
            for step in remote.stream(service, "Warm", request):
                done.take(step)
                shown.show(done.tally.done, done.total)
            done.end_part()
    except (StartupError, KeyboardInterrupt):
        # What was loaded until then is there.
        shown.end()
        _report(done, options, "until then: ")
        raise
    shown.end()
    _report(done, options)
    if done.tally.failed:
        said = [f"{one.key}: {one.failure.message}" for one in done.failures]
        if len(said) < done.tally.failed:
            said.append(f"and {done.tally.failed - len(said)} more")
        raise StartupError("\n".join(said))
    return 0


class _Done:
    """What has become of the keys, over all parts."""

    def __init__(self, total: int) -> None:
        self.total = total
        """How many keys there are; 0 until the sidecar says so."""
        self.tally = Tally()
        self.failures: list[Any] = []
        self.cut = False
        self.processes = 0
        self._before = Tally()

    def take(self, step: Any) -> None:
        """Take in how far the part under way is."""
        self.tally = self._before.plus(Tally(step.loaded, step.present, step.absent, step.failed))
        self.failures += step.failures
        self.total = self.total or step.total
        self.cut = step.cut
        self.processes = step.processes

    def end_part(self) -> None:
        """Begin with the next part."""
        self._before = self.tally


def _report(done: _Done, options: argparse.Namespace, when: str = "") -> None:
    """Say what came of it, on standard output."""
    if options.json:
        print(json.dumps({**done.tally._asdict(), "cut": done.cut, "processes": done.processes}))
        return
    notes = []
    if options.from_cache or done.processes:
        counted_by = "1 process" if done.processes == 1 else f"{done.processes} processes"
        notes.append(f"; hot keys as counted by {counted_by}")
    if done.cut:
        notes.append("; there were more than the limit")
    print(f"{options.cache}: {when}{done.tally}{''.join(notes)}")


def parts(keys: Sequence[str]) -> Iterator[list[str]]:
    """Return keys, each once, in parts that fit into a message."""
    part: list[str] = []
    size = 0
    for key in dict.fromkeys(keys):
        if part and (len(part) == _PART_KEYS or size + len(key.encode()) > _PART_BYTES):
            yield part
            part, size = [], 0
        part.append(key)
        size += len(key.encode())
    if part:
        yield part


def _keys_in(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StartupError(f"{path}: is no UTF-8") from None
    return [key for line in lines if (key := line.rstrip("\r"))]


def bar(done: int, total: int, width: int = _BAR_CHARS) -> str:
    """Return how much of it is done, as a bar and in numbers."""
    part = min(1.0, done / total) if total else 1.0
    full = int(part * width)
    return f"[{'#' * full}{'.' * (width - full)}] {part:4.0%}  {done}/{total}"


class _Shown:
    """What is shown of the progress, on standard error."""

    def __init__(self, cache: str) -> None:
        self._cache = cache
        self._is_terminal = sys.stderr.isatty()
        self._next = time.monotonic() + _LINE_SECONDS

    def show(self, done: int, total: int) -> None:
        """Show it, if it is time."""
        line = f"{self._cache} {bar(done, total)}"
        if self._is_terminal:
            self._write(f"\r{line}")
        elif time.monotonic() >= self._next:
            self._next += _LINE_SECONDS
            self._write(f"{line}\n")

    def end(self) -> None:
        """Leave the line of the bar."""
        if self._is_terminal:
            self._write("\n")

    @staticmethod
    def _write(text: Any) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
