"""Container images without a container engine: reproducible layers, and archives that ``ctr images import`` takes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ARCHITECTURE: Final = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_EPOCH: Final = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class Layer:
    """An uncompressed layer, a tar file."""

    path: Path
    digest: str
    size: int

    @classmethod
    def at(cls, path: Path) -> Layer:
        with path.open("rb") as file:
            return cls(path, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)

    @classmethod
    def of_folder(cls, root: Path, path: Path) -> Layer:
        """Pack a folder: sorted, owned by root, without times, so that the same files give the same bytes."""
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for folder, folders, files in os.walk(root):
                folders.sort()
                for name in sorted(folders + files):
                    member = Path(folder, name)
                    tar.add(member, member.relative_to(root), recursive=False, filter=_plain)
        return cls.at(path)

    @classmethod
    def of_file(cls, source: Path, name: str, path: Path) -> Layer:
        """Pack one program."""
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            tar.add(source, name, filter=_plain)
        return cls.at(path)


def write_image(path: Path, name: str, layers: Sequence[Layer], config: Mapping[str, Any]) -> str:
    """Write an image for this machine's architecture; returns its digest. ``config`` as in Docker: Entrypoint, ….

    The archive holds copies of its layers.
    """
    settled = {**config, "Env": [f"PATH={PATH}", *config.get("Env", ())]}
    where = {"architecture": ARCHITECTURE, "os": "linux"}
    diffs = [f"sha256:{layer.digest}" for layer in layers]
    image = _blob(where | {"created": _EPOCH, "config": settled, "rootfs": {"type": "layers", "diff_ids": diffs}})
    kind = "application/vnd.oci.image"
    manifest = _blob(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": {"mediaType": f"{kind}.config.v1+json", **_reference(image)},
            "layers": [
                {"mediaType": f"{kind}.layer.v1.tar", "digest": f"sha256:{layer.digest}", "size": layer.size}
                for layer in layers
            ],
        },
    )
    named = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    entry = {"mediaType": f"{kind}.manifest.v1+json", **_reference(manifest), "platform": where, "annotations": named}
    index = {"schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": [entry]}
    with tarfile.open(path, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(tar, "index.json", json.dumps(index).encode())
        for blob in (image, manifest):
            _add(tar, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
        for layer in layers:
            tar.add(layer.path, f"blobs/sha256/{layer.digest}", filter=_plain)
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def read_config(path: Path) -> dict[str, Any]:
    """Return the configuration of an archive's image: ``User``, ``Entrypoint``, ``Env``, ``Labels``."""
    with tarfile.open(path) as tar:

        def read(name: str) -> Any:
            file = tar.extractfile(name)
            assert file is not None
            return json.load(file)

        def blob(reference: dict[str, Any]) -> Any:
            return read(f"blobs/sha256/{reference['digest'].removeprefix('sha256:')}")

        manifest = blob(read("index.json")["manifests"][0])
        config: dict[str, Any] = blob(manifest["config"])["config"]
        return config


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.pax_headers = {}
    return member


def _blob(content: object) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _reference(blob: bytes) -> dict[str, Any]:
    return {"digest": f"sha256:{hashlib.sha256(blob).hexdigest()}", "size": len(blob)}


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
