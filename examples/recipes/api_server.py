"""An API server in memory, to try the recipes on: ``uv run python examples/recipes/api_server.py``.

It prints the line to paste into the other terminals. Ctrl-C ends it, and all is forgotten.
"""

import signal
from contextlib import suppress

from tasklock.testing import ApiServer

signal.signal(signal.SIGTERM, signal.default_int_handler)
with suppress(KeyboardInterrupt), ApiServer() as api:
    print(f"export KUBECONFIG={api.kubeconfig}", flush=True)
    while True:
        signal.pause()
