"""`python -m sidecar_client`."""

import sys

from sidecar_client.commandline import main

sys.exit(main())
