"""The files that a client of the embedded server needs: a kubeconfig, and a throw-away CA for TLS."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "tasklock-embedded"


def write_kubeconfig(path: Path, *, url: str, namespace: str, token: str | None, ca_file: Path | None) -> None:
    """Write a kubeconfig with one context (as JSON, which is YAML too)."""
    cluster: dict[str, Any] = {"server": url}
    if ca_file is not None:
        cluster["certificate-authority"] = str(ca_file)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": cluster}],
        "users": [{"name": _NAME, "user": {"token": token} if token else {}}],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME, "namespace": namespace}}],
        "current-context": _NAME,
    }
    path.write_text(json.dumps(config, indent=2) + "\n")
    path.chmod(0o600)


def throwaway_tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a server context for 127.0.0.1 and the file of the CA that signed it."""
    import trustme  # noqa: PLC0415 - optional, and slow to import

    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    ca_file = folder / "ca.crt"
    authority.cert_pem.write_to_path(str(ca_file))
    return context, ca_file
