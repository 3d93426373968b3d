"""What holds for all tests, those of the Python client too."""

from __future__ import annotations

from hypothesis import settings

# A machine that is busy with other work makes an example slow, and no property false.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
