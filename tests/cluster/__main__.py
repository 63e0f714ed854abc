"""``uv run python tests/cluster up [--node]``: a control plane, or a whole node, for a person, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this folder is the package `cluster` in it

from cluster.build import BuildError, ensure_program, modules  # noqa: E402
from cluster.control_plane import ControlPlane  # noqa: E402
from cluster.image import ensure_operator_image  # noqa: E402
from cluster.node import Node  # noqa: E402
from cluster.processes import ControlPlaneError, MachineError  # noqa: E402
from cluster.sandbox import check_machine  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/cluster", description="A real Kubernetes control plane or node.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="build what is missing, start it, stop it with Ctrl-C")
    up.add_argument("--node", action="store_true", help="a whole node with the operator's image on it; needs root")
    up.add_argument("--controller-manager", action="store_true", help="start kube-controller-manager too")
    commands.add_parser("build", help="only build what is missing of all that the tests use")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.command == "build":
            _build_all()
        elif options.node:
            _up(lambda: Node(images=(ensure_operator_image(),)))
        else:
            _up(lambda: ControlPlane(controller_manager=options.controller_manager))
    except (BuildError, ControlPlaneError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
    return 0


def _build_all() -> None:
    for module in modules():
        for name in module.packages:
            ensure_program(name)
    try:
        check_machine()
    except MachineError as error:
        sys.stderr.write(f"no image for a node: {error}\n")
    else:
        ensure_operator_image()


def _up(make: Callable[[], ControlPlane]) -> None:
    control_plane = make()
    start = time.monotonic()
    with control_plane:
        took = time.monotonic() - start
        kubectl = control_plane.binaries.kubectl
        sys.stderr.write(f"ready after {took:.1f} s at {control_plane.url}; kubectl is {kubectl}; Ctrl-C stops it\n")
        print(f"export KUBECONFIG={control_plane.kubeconfig}", flush=True)
        try:
            signal.pause()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):  # whoever presses Ctrl-C twice still leaves nothing behind
                signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
