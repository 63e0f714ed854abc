"""The chart, installed by helm on the node with the image that was just built."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cluster.image import NAME, ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.node import Node

CHART: Final = ROOT / "charts" / "tasklock"
_WAIT: Final = "--timeout=90s"


@dataclass(frozen=True)
class Release:
    """One release: its name is the chart's objects' name, too, where that is ``tasklock``."""

    helm: Path
    node: Node
    name: str
    namespace: str

    def install(self, **values: Any) -> None:
        repository, _, tag = NAME.rpartition(":")
        everything = {"image": {"repository": repository, "tag": tag, "pullPolicy": "Never"}, **values}
        self.run("install", self.name, str(CHART), "--values=-", "--wait", _WAIT, input=json.dumps(everything))

    def uninstall(self) -> None:
        self.run("uninstall", self.name, "--wait", _WAIT)

    def run(self, *args: str, input: str | None = None) -> str:  # noqa: A002 - as subprocess.run calls it
        """Run helm in the release's namespace; what it says on stderr is in the error."""
        done = subprocess.run(
            [self.helm, *args, f"--namespace={self.namespace}", f"--kubeconfig={self.node.kubeconfig}"],
            env={"HOME": str(self.node.folder), "PATH": os.environ["PATH"]},
            input=input,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"helm {args[0]}: {done.stderr}\n{self._why()}"
        return done.stdout

    def pod(self) -> dict[str, Any]:
        """Return the operator's pod, which has to be the only one."""
        (found,) = self.node.pods(self.namespace, f"app.kubernetes.io/instance={self.name}")
        return found

    def get(self, path: str) -> str:
        """Ask the operator's one port; from this machine, which reaches every pod."""
        address = self.pod()["status"]["podIP"]
        with urllib.request.urlopen(f"http://{address}:8080{path}", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def _why(self) -> str:
        """Say what the pods were doing when helm gave up."""
        lines = [self.node.kubectl("get", "pods,events", f"--namespace={self.namespace}", "--output=wide")]
        for pod in self.node.pods(self.namespace):
            name = pod["metadata"]["name"]
            try:
                lines.append(self.node.logs(self.namespace, name, "--tail=30"))
            except subprocess.CalledProcessError as error:
                lines.append(error.stderr)
        return "\n".join(lines)
