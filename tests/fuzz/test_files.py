"""Files that others write: kubeconfigs, mountinfo, service account tokens; and the marks of processes."""

from __future__ import annotations

import base64
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bad_input.servers import FOREIGN
from fuzz.strategies import JSON, LEAF, NESTED, TEXT, encoded, like
from tasklock import LockApiError
from tasklock.transport.config import Source, connect
from tasklock.transport.identity import _from_mountinfo, _from_token, is_dead, process_mark

if TYPE_CHECKING:
    from pathlib import Path

CERTIFICATES = {"certificate-authority-data": TEXT, "client-certificate-data": TEXT, "client-key-data": TEXT}
CLUSTER = like(
    {
        "server": st.sampled_from(["https://127.0.0.1:1", "http://127.0.0.1:1/a/b", "https://[::1]:1", "//", ""]),
        "certificate-authority": TEXT,
        "insecure-skip-tls-verify": LEAF,
        "tls-server-name": TEXT,
        "proxy-url": st.sampled_from(["http://127.0.0.1:2", "socks5://x", "://"]),
        **CERTIFICATES,
    }
)
USER = like(
    {
        "token": TEXT,
        "tokenFile": TEXT,
        "username": TEXT,
        "password": TEXT,
        "exec": like({"command": st.just("/nonexistent/plugin"), "apiVersion": TEXT, "args": JSON, "env": JSON}),
        "auth-provider": like({"name": st.sampled_from(["gcp", "oidc", "azure", "x"]), "config": JSON}),
        **CERTIFICATES,
    }
)


def named(kind: str, value: Any) -> Any:
    return st.lists(like({"name": st.just("a"), kind: value}), max_size=2)


CONFIG = like(
    {
        "clusters": named("cluster", CLUSTER),
        "users": named("user", USER),
        "contexts": named("context", like({"cluster": st.just("a"), "user": st.just("a"), "namespace": TEXT})),
        "current-context": st.just("a"),
    }
)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBECONFIG", "TASKLOCK_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)


def load(source: Source) -> None:
    """Load a configuration: it can be used, or an error of ours says why not."""
    try:
        connection = connect(source)
        connection.credentials()
        connection.close()
    except LockApiError as error:
        text = str(error)
        assert text.isascii()
        assert text.isprintable()
        assert len(text) < 600
        assert not [name for name in FOREIGN if name in text and name != "yaml.scanner"]


@given(config=CONFIG)
def test_a_kubeconfig_of_any_content_loads_or_is_refused_in_a_sentence(config: Any, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    load(Source(kubeconfig=path))
    load(Source(kubeconfig=path, context="a"))


@given(data=st.binary(max_size=100) | st.sampled_from([NESTED[:3000], b"a: &a\n  - *a\n  - *a\n"]))
@settings(max_examples=10)
def test_so_does_one_of_any_bytes(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(data)
    load(Source(kubeconfig=path))


@given(path=TEXT)
@settings(max_examples=20)
def test_so_does_one_of_any_path(path: str) -> None:
    load(Source(kubeconfig=path))


UIDS = st.just("5e8cb1f0-8a5b-4c6e-9d2a-0123456789ab") | TEXT


@given(root=TEXT, uid=UIDS, container=TEXT | st.just("c" * 5000), rest=TEXT)
def test_mountinfo_of_any_content_tells_a_uid_and_a_container_or_nothing(
    root: str, uid: str, container: str, rest: str
) -> None:
    told = _from_mountinfo(
        f"{rest}\n1 2 8:1 {root}/pods/{uid}/containers/{container}/x /dev/termination-log rw\n{rest}"
    )
    for part in told:
        assert part is None or part.replace("-", "").isalnum()


@given(claims=like({"kubernetes.io": like({"pod": like({"name": TEXT, "uid": UIDS})})}))
def test_a_token_of_any_claims_is_no_trouble(claims: Any) -> None:
    payload = base64.urlsafe_b64encode(encoded(claims)).decode().rstrip("=")
    for part in _from_token(f"a.{payload}.c"):
        assert part is None or isinstance(part, str)


@given(text=TEXT | st.just("a." + base64.urlsafe_b64encode(NESTED).decode() + ".c"))
@example(text="a." + base64.urlsafe_b64encode(NESTED).decode() + ".c")
@example(text="a." + base64.urlsafe_b64encode(b'{"kubernetes.io": ' + b"9" * 5000 + b"}").decode() + ".c")
def test_a_token_of_any_text_is_no_trouble(text: str) -> None:
    assert _from_token(text) == (None, None)


@given(parts=st.lists(TEXT | st.sampled_from(["1", "0", "99999999999", "-1", "\u0661"]), max_size=5))
def test_a_process_that_is_none_is_never_dead(parts: list[str]) -> None:
    assert is_dead("/".join(parts)) is None
    mark = str(process_mark(os.getpid()))
    assert is_dead(mark + "".join(parts)) is not True or "".join(parts).isdigit()
    with suppress(ValueError):
        assert is_dead(f"{mark}/{parts[0] if parts else ''}") is None
