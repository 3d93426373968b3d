"""A server of each engine to be attacked, with an honest caller whom it must go on serving."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.attacked import Attacked
from support.engines import MAKERS

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=MAKERS)
def engine(request: pytest.FixtureRequest) -> str:
    """Return the name of each engine."""
    return str(request.param)


@pytest.fixture(scope="module")
def lasting_victim(engine: str) -> Iterator[Attacked]:
    """Return a server that all attacks of a file meet, one after the other, as a real one would."""
    with Attacked(engine) as made:
        yield made


@pytest.fixture
def victim(lasting_victim: Attacked) -> Attacked:
    """Return that server, with all measures begun anew."""
    lasting_victim.begin()
    return lasting_victim
