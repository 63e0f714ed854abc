"""``manifests/operator``: the chart with its default values, one file a kind, as ``kubectl apply -k`` wants it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from pathlib import Path

RELEASE: Final = "tasklock"
NAMESPACE: Final = "tasklock-system"
_HEADER: Final = "# Made from charts/tasklock by: uv run python tests/chart/generate.py\n"
_NAMESPACE: Final = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {
        "name": NAMESPACE,
        "labels": {
            "app.kubernetes.io/name": "tasklock",
            "app.kubernetes.io/part-of": "tasklock",
            "pod-security.kubernetes.io/enforce": "restricted",
        },
    },
}


def helm_template(helm: Path, chart: Path, *args: str, namespace: str = NAMESPACE) -> str:
    """Return what ``helm template`` prints; CalledProcessError carries its stderr as a note."""
    command = [helm, "template", RELEASE, chart, "--namespace", namespace, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        error = subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        error.add_note(done.stderr.strip())
        raise error
    return done.stdout


def manifests(helm: Path, chart: Path) -> dict[str, str]:
    """Return the files of ``manifests/operator`` by name."""
    objects = [
        _without_helm(found) for found in yaml.safe_load_all(helm_template(helm, chart, "--skip-tests")) if found
    ]
    files: dict[str, list[Any]] = {"namespace.yaml": [_NAMESPACE]}
    for found in objects:
        component = found["metadata"]["labels"]["app.kubernetes.io/component"]
        kind = found["kind"].lower()
        files.setdefault(f"{kind}.yaml" if component == "operator" else f"{component}-{kind}.yaml", []).append(found)
    texts = {name: _HEADER + yaml.safe_dump_all(found, sort_keys=False) for name, found in sorted(files.items())}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": list(texts),
    }
    return texts | {"kustomization.yaml": _HEADER + yaml.safe_dump(kustomization, sort_keys=False)}


def _without_helm(found: Any) -> Any:
    """Take off the labels that say that Helm has installed it."""
    labels = found["metadata"]["labels"]
    found["metadata"]["labels"] = {
        key: value for key, value in labels.items() if key not in {"helm.sh/chart", "app.kubernetes.io/managed-by"}
    }
    return found
