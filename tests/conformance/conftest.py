"""Every suite runs over every engine."""

from __future__ import annotations

import pytest
from support.engines import MAKERS


@pytest.fixture(params=list(MAKERS))
def engine(request: pytest.FixtureRequest) -> str:
    """Return the name of each engine."""
    return str(request.param)
