"""What the parts of a comparison find in place: one store, the load generator, a collector, and the user's options."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.collector import Collector
from bench.contest import compete
from bench.load import install_ghz
from bench.measure import Meter
from bench.servers import SIDECAR, SidecarOptions, start_redis, start_sidecar
from bench.targets import StoreWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.contest import Contestant, Entry
    from bench.servers import NearOptions
    from bench.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class RigOptions:
    """What the user may choose."""

    engine: str
    rounds: int = 5
    seconds: float = 3.0
    trace_ratio: float = 0.01
    daprd: Path | None = None
    ratelimit: Path | None = None
    limitador: Path | None = None
    python: Path | None = None
    """The interpreter of another installation of the sidecar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A place to measure at; all that is started there uses the same store over TCP."""

    options: RigOptions
    folder: Path
    redis_port: int
    meter: Meter
    collector: Collector
    say: Callable[[str], None]
    _sidecars: list[Target] = field(default_factory=list)

    @property
    def redis_url(self) -> str:
        """The store's URL."""
        return f"redis://127.0.0.1:{self.redis_port}"

    def start_sidecar(
        self, stack: ExitStack, *, workers: int = 1, near: NearOptions | None = None, program: Sequence[str] = SIDECAR
    ) -> Target:
        """Start a sidecar: metrics on, and the chosen share of the calls traced."""
        options = SidecarOptions(
            engine=self.options.engine,
            workers=workers,
            near=near,
            redis=self.redis_url,
            trace_ratio=self.options.trace_ratio,
            otlp_endpoint=self.collector.endpoint,
        )
        sidecar = start_sidecar(stack, self.folder, options, program)
        self._sidecars.append(sidecar)
        return sidecar

    def compete(self, *contestants: Contestant) -> Sequence[Entry]:
        """Let the contestants take their turns."""
        return compete(contestants, self.meter, self.options.rounds, self.say)

    def traced(self) -> float | None:
        """Return the share of all sidecars' calls that were traced and exported; only once they have stopped."""
        calls = sum(sidecar.calls for sidecar in self._sidecars)
        return self.collector.server_spans / calls if calls else None


@contextmanager
def set_up(options: RigOptions, say: Callable[[str], None]) -> Iterator[Rig]:
    """Start the store and the collector for the length of a `with` block; raises `Failure`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-bench-")))
        port = start_redis(stack, folder)
        meter = Meter(ghz=install_ghz(), watch=StoreWatch(f"redis://127.0.0.1:{port}"), seconds=options.seconds)
        collector = stack.enter_context(Collector())
        yield Rig(options=options, folder=folder, redis_port=port, meter=meter, collector=collector, say=say)
