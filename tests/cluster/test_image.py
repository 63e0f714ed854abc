"""The image that the node runs: what it promises to whoever starts it."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path, PurePosixPath

import pytest

from cluster import image, oci


@pytest.fixture(scope="module")
def names(operator_image: Path) -> set[str]:
    """List every file of every layer."""
    found: set[str] = set()
    with tarfile.open(operator_image) as archive:
        for member in archive:
            blob = archive.extractfile(member)
            if blob is not None and member.name.startswith("blobs/") and member.size > 1_000_000:
                with tarfile.open(fileobj=blob) as layer:
                    found.update(layer.getnames())
    return found


def test_it_runs_as_a_user_without_rights(operator_image: Path) -> None:
    config = oci.read_config(operator_image)
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["python3", "-m", "tasklock_operator"]


def test_it_holds_the_operator_the_library_and_their_commands(names: set[str]) -> None:
    for module in ("tasklock/__init__.py", "tasklock/cli/__init__.py", "tasklock_operator/__main__.py", "kopf"):
        assert f"{image.SITE}/{module}" in names
    assert {f"usr/bin/{name}" for name in ("tasklock", "kubectl-tasklock", "tasklock-operator", "python3")} <= names


def test_everything_is_compiled_because_a_read_only_root_cannot_keep_what_python_compiles(names: set[str]) -> None:
    paths = {PurePosixPath(name) for name in names if name.startswith(image.SITE)}
    sources = {path for path in paths if path.suffix == ".py"}
    compiled = {path.parent.parent / f"{path.name.partition('.')[0]}.py" for path in paths if path.suffix == ".pyc"}
    assert len(sources) > 1000
    assert {path for path in sources if path.parts[4].startswith("tasklock")} <= compiled


def test_the_same_tree_gives_the_same_bytes(operator_image: Path) -> None:
    assert operator_image.exists()
    (lower, *_) = (path for path in operator_image.parent.glob("python-*/root"))
    layers = []
    for _ in range(2):
        with tempfile.TemporaryDirectory(dir=lower / "tmp") as work:
            layers.append(image.build_upper(Path(work), lower).digest)
    assert layers[0] == layers[1]


def test_an_image_is_built_once_for_one_tree(operator_image: Path) -> None:
    assert operator_image.exists()
    first = image.ensure_operator_image()
    before = first.stat().st_mtime_ns
    assert image.ensure_operator_image() == first
    assert first.stat().st_mtime_ns == before
