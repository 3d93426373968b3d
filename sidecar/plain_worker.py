"""`python -m sidecar.plain_worker FD` is a worker (`worker.py`), which uses settings and reads none."""

import sys

from sidecar.config.plain import use_plain_settings

if __name__ == "__main__":
    use_plain_settings()
    # Only now: it imports the classes of settings.
    from sidecar.worker import main

    sys.exit(main(sys.argv[1:]))
