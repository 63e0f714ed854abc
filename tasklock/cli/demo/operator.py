"""The demo's operator, in a process of its own: says where its page is, runs until its stdin ends."""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import sys
import threading
import time
from importlib.util import find_spec
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

NEEDED: Final = ("aiohttp", "jinja2", "kopf", "prometheus_client")
GLANCE: Final = 0.1  # seconds between two questions whether it is ready


def is_installed() -> bool:
    """Whether the extra ``tasklock[operator]`` is there."""
    return all(find_spec(name) is not None for name in NEEDED)


def main() -> None:
    """Run the operator on the cluster and namespace that the argument names."""
    told = json.loads(sys.argv.pop())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    os.environ |= {
        "KUBECONFIG": told["kubeconfig"],
        "TASKLOCK_OPERATOR_NAMESPACES": told["namespace"],
        "TASKLOCK_OPERATOR_LISTEN": listen,
    }
    threading.Thread(target=_tell, args=(f"http://{listen}",), daemon=True).start()
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    runpy.run_module("tasklock_operator", run_name="__main__", alter_sys=True)


def _tell(address: str) -> None:
    while True:
        try:
            with urlopen(f"{address}/readyz", timeout=1):  # noqa: S310 - our own http address
                break
        except (URLError, OSError):
            time.sleep(GLANCE)
    print(json.dumps({"event": "watches", "page": f"{address}/"}), flush=True)  # noqa: T201 - our report


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
