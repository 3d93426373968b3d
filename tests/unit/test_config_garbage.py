"""No input makes the loader do anything but return settings or raise `ConfigError`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.config import ConfigError, load
from sidecar.config.shape import Shape, settings_shape

EXAMPLE = (Path(__file__).parents[2] / "examples" / "hospital" / "sidecar.yaml").read_bytes()

# One file is written over and over: the folder need not be new for each example.
REUSED_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)


def names_of(shape: Shape) -> set[str]:
    """Return all names of settings, so that random trees come near to real ones."""
    names = set(shape.parts)
    for below in [*shape.parts.values(), *([shape.items] if shape.items else [])]:
        names |= names_of(below)
    return names


NAMES = sorted(names_of(settings_shape()))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [
            "phi",
            "raw",
            "token_bucket",
            "sliding_window",
            "sliding_log",
            "gcra",
            "fixed_window",
            "concurrency",
            "UTC",
            "1s",
            "25h",
            "1MiB",
            "100/s",
        ]
    ),
    st.sampled_from(["a:1", "unix:/a", "redis://h", "sc:"]),
)
TREES = st.recursive(
    SCALARS,
    lambda below: st.one_of(
        st.lists(below, max_size=4),
        st.dictionaries(st.sampled_from([*NAMES, "a", "b"]), below, max_size=6),
    ),
    max_leaves=25,
)
# Half of the trees are true to the form at their top, to get past the first checks.
ROOTS = st.one_of(
    st.dictionaries(st.sampled_from(NAMES), TREES, max_size=6),
    st.fixed_dictionaries(
        {},
        optional={
            "caches": st.dictionaries(
                st.sampled_from(["a", "b", "C"]),
                st.dictionaries(
                    st.sampled_from(["ttl", "max_ttl", "data_class", "format", "key_prefix", "stale_for"]), TREES
                ),
            ),
            "rate_limits": st.dictionaries(
                st.sampled_from(["a", "b"]),
                st.dictionaries(
                    st.sampled_from(
                        ["algorithm", "rate", "burst", "limit", "window", "calendar", "time_zone", "limits"]
                    ),
                    TREES,
                ),
            ),
            "store": st.dictionaries(st.sampled_from(["url", "tls", "backoff", "username"]), TREES),
            "listen": TREES,
        },
    ),
)


def load_or_refuse(file: Path | None, environ: dict[str, str], overrides: dict[str, Any] | None = None) -> None:
    """Load; whatever is wrong must come as problems of one line each."""
    lines = ["fine"]
    try:
        load(file, environ, overrides)
    except ConfigError as error:
        lines = [str(problem) for problem in error.problems]
    assert lines != []
    assert [line for line in lines if not line.isprintable()] == []


@REUSED_FOLDER
@given(content=st.binary(max_size=400))
def test_random_bytes(tmp_path: Path, content: bytes) -> None:
    """Bytes at random are refused, or happen to be a configuration."""
    file = tmp_path / "sidecar.yaml"
    file.write_bytes(content)
    load_or_refuse(file, {})


@REUSED_FOLDER
@given(content=st.text(alphabet="ab:-[]{}&*!|>'\"#%@`?, \n\t~0.é\u2028", max_size=200))
def test_random_yaml_characters(tmp_path: Path, content: str) -> None:
    """Text of YAML's own characters is refused, or happens to be a configuration."""
    file = tmp_path / "sidecar.yaml"
    file.write_text(content)
    load_or_refuse(file, {})


@REUSED_FOLDER
@given(data=st.data())
def test_mutated_example(tmp_path: Path, data: st.DataObject) -> None:
    """The example with some bytes changed, cut out or put in is refused, or still a configuration."""
    content = bytearray(EXAMPLE)
    for _ in range(data.draw(st.integers(1, 8))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 10))] = data.draw(st.binary(max_size=10))
    file = tmp_path / "sidecar.yaml"
    file.write_bytes(content)
    load_or_refuse(file, {})


@REUSED_FOLDER
@given(tree=ROOTS)
def test_random_trees(tmp_path: Path, tree: dict[str, Any]) -> None:
    """Well-formed YAML with the right names in the wrong places is refused line by line, or accepted."""
    file = tmp_path / "sidecar.yaml"
    with contextlib.suppress(UnicodeEncodeError):
        file.write_text(yaml.safe_dump(tree, allow_unicode=True))
        load_or_refuse(file, {})


@REUSED_FOLDER
@given(
    environ=st.dictionaries(
        st.lists(st.sampled_from([*(name.upper() for name in NAMES), "A", ""]), max_size=4).map(
            lambda parts: "SIDECAR_" + "__".join(parts)
        ),
        st.one_of(st.text(max_size=30), TREES.map(lambda tree: yaml.safe_dump(tree, default_flow_style=True))),
        max_size=6,
    )
)
def test_random_variables(environ: dict[str, str]) -> None:
    """Variables at random are refused one by one, or accepted."""
    load_or_refuse(None, environ)


@REUSED_FOLDER
@given(overrides=st.dictionaries(st.sampled_from(["listen", "store.url", "tenant", "a.b", ""]), TREES))
def test_random_overrides(overrides: dict[str, Any]) -> None:
    """Flags' values at random are refused, or accepted."""
    load_or_refuse(None, {}, overrides)
