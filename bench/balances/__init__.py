"""The example of balances before there was a sidecar, and after: `python -m bench.balances`, or `make bench-balances`.

`runs.py` is what one run comes to, `stage.py` starts what is measured, `poster.py` posts meanwhile, `contest.py` takes
the turns; `figures.py` keeps what they showed, from which alone `tables.py`, `chart.py` and `document.py` make the
text and the picture of docs/benchmarks.md.
"""

import sys
from pathlib import Path

# The example is a program to be read, not an installed package.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "balances"))
