"""When an entry that is fresh is to be loaded anew, so that nobody has to wait for it once it is not. Pure.

Two rules. The one of refresh-ahead counts the share of an entry's life that is over: whoever reads it after that has it
loaded in the background, and at a steady load it is never too old. The other is chance (XFetch; Vattani, Chierichetti,
Lowenstein: Optimal Probabilistic Cache Stampede Prevention, VLDB 2015): each reader takes the entry for older than it
is, by the time that a load takes, times an exponential draw. So the more readers there are, the earlier one of them
loads, and they do not all at once.
"""

from __future__ import annotations

import math


def is_due(age_ms: int, left_ms: int, share: float) -> bool:
    """Say whether more than a share of an entry's life is over."""
    return age_ms >= share * (age_ms + left_ms)


def is_early(left_ms: int, load_ms: float, eagerness: float, draw: float) -> bool:
    """Say whether a reader with this `draw`, in [0, 1), is to load an entry that is fresh for `left_ms` more.

    `load_ms` is how long a load takes; an `eagerness` of 1 is the paper's optimum, 0 never does.
    """
    return -load_ms * eagerness * math.log1p(-draw) >= left_ms


def mean_after(mean: float, measured: float) -> float:
    """Return a mean that the last ten or so measurements make, most by the newest; 0 is none yet."""
    return measured if mean == 0 else mean + (measured - mean) / 10
