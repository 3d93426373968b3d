"""F27: random and mutated bytes at every parser, for seconds; `make fuzz` does the same for ten minutes each."""

from __future__ import annotations

import time

import pytest
from fuzz.mutations import inputs
from fuzz.targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# No input of some hundred bytes may keep a parser busy for longer, on a machine that is busy itself.
_HANG_SECONDS = 2.0
_EXAMPLES = 300


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_input_is_a_crash(name: str, data: st.DataObject) -> None:
    """A parser takes its input or refuses it, and soon."""
    target = TARGETS[name]
    given_bytes = data.draw(inputs(target.seeds))
    begun = time.process_time()
    target.run(given_bytes)
    assert time.process_time() - begun < _HANG_SECONDS


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_run(name: str) -> None:
    """Good input is no crash either."""
    for seed in TARGETS[name].seeds:
        TARGETS[name].run(seed)
