"""Inputs for the targets: bytes at random, and good ones with some bytes changed, cut out, put in or said again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_BYTES = 400
_EDITS = 6


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Draw a seed with a few edits."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, _EDITS))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 10)))
        put = draw(st.one_of(st.binary(max_size=10), st.sampled_from(seeds), st.just(bytes(content[start:end]) * 2)))
        content[start:end] = put
    return bytes(content)


def inputs(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Draw anything."""
    return st.one_of(st.binary(max_size=_MOST_BYTES), mutated(seeds))
