"""The chart as ``helm template`` renders it, for tests that look at one object."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import yaml

from chart.generate import CHART
from chart.render import NAMESPACE, RELEASE, helm_template

if TYPE_CHECKING:
    from pathlib import Path

Values = dict[str, Any]


class Chart:
    """``chart.one("Deployment", replicas=2)``; what was rendered once with some values is not rendered again."""

    def __init__(self, helm: Path, folder: Path) -> None:
        self._helm = helm
        self._folder = folder
        self._rendered: dict[str, str] = {}

    def text(self, **values: Any) -> str:
        key = json.dumps(values, sort_keys=True)
        if key not in self._rendered:
            self._rendered[key] = helm_template(self._helm, CHART, "--values", self._file(key))
        return self._rendered[key]

    def objects(self, **values: Any) -> list[Any]:
        return [found for found in yaml.safe_load_all(self.text(**values)) if found]

    def all(self, kind: str, **values: Any) -> list[Any]:
        """Return the objects of one kind, but for those of ``helm test``."""
        return [
            found
            for found in self.objects(**values)
            if found["kind"] == kind and "helm.sh/hook" not in found["metadata"].get("annotations", {})
        ]

    def one(self, kind: str, **values: Any) -> Any:
        (found,) = self.all(kind, **values)
        return found

    def container(self, **values: Any) -> Any:
        """Return the operator's own container."""
        return self.one("Deployment", **values)["spec"]["template"]["spec"]["containers"][0]

    def refusal(self, **values: Any) -> str:
        """Return what helm says of values that it refuses."""
        try:
            text = self.text(**values)
        except subprocess.CalledProcessError as error:
            return str(error.stderr)
        message = f"helm renders it: {text[:200]}"
        raise AssertionError(message)

    def refused_values(self, **values: Any) -> set[str]:
        """Return what the schema refuses of values, all of them bad, as ``/image/tag``."""
        found = re.findall("^ *- at '([^']*)': (?!validation failed)", self.refusal(**values), re.MULTILINE)
        return set(found)

    def notes(self, **values: Any) -> str:
        """Return what helm tells who has installed it."""
        file = self._file(json.dumps(values, sort_keys=True))
        command = [
            self._helm,
            "install",
            RELEASE,
            CHART,
            "--namespace",
            NAMESPACE,
            "--dry-run=client",
            "--values",
            file,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.partition("NOTES:\n")[2]

    def _file(self, text: str) -> str:
        file = self._folder / "values.json"
        file.write_text(text)
        return str(file)


def env(container: Any) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


def named(found: list[Any]) -> dict[str, Any]:
    """Return objects by namespace and name; the namespace of a cluster-wide one is empty."""
    return {one["metadata"].get("namespace", "") + "/" + one["metadata"]["name"]: one for one in found}
