"""What holds for all tests, those of the Python client too."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# A machine that is busy with other work makes an example slow, and the making of examples, and no property false.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# A shell that starts the tests in the background has them, and so the programs that they start, ignore interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
