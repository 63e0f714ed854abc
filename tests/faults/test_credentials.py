"""Tokens that change while a lock is held, and configurations that lead nowhere."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from contract.place import wait_until
from faults.tokens import Tokens
from tasklock import LockApiError, LockClient, LockForbiddenError, LockLostError
from tasklock.testing import ApiServer

if TYPE_CHECKING:
    from cluster.control_plane import ControlPlane
    from contract.place import Place


@pytest.fixture
def tokens(control_plane: ControlPlane, place: Place, tmp_path: Path) -> Tokens:
    return Tokens(control_plane, place, tmp_path)


@pytest.mark.slow
def test_a_token_that_is_replaced_is_read_again_when_the_old_one_is_refused(place: Place, tokens: Tokens) -> None:
    """Renewing, waiting and acquiring go on with the new token, each on its own; nothing else happened."""
    old = tokens.issue("old")
    tokens.file.write_text(old)
    holder, waiter, idle = (place.client(kubeconfig=tokens.kubeconfig) for _ in range(3))
    idle.is_locked("report")
    with ThreadPoolExecutor(1) as pool, holder.lock_task("report", ttl=6) as hold:
        waiting = pool.submit(waiter.lock_task("report").acquire, None)
        time.sleep(1)
        tokens.file.write_text(tokens.issue("new"))
        tokens.revoke("old", old)
        revoked = place.lease("report")["spec"]["renewTime"]
        wait_until(lambda: place.lease("report")["spec"]["renewTime"] > revoked)
        hold.ensure_held()
        assert idle.is_locked("report")
        assert not waiting.done()
        hold.release()
        waiting.result(60).release()
    with idle.lock_task("report"):
        pass


def test_a_token_that_is_void_loses_the_lock_and_every_error_says_why() -> None:
    """On the embedded server: a real one remembers for ten seconds that a token was good."""
    with (
        ApiServer(token="good") as server,
        LockClient("contract", kubeconfig=server.kubeconfig) as client,
    ):
        hold = client.lock_task("report", ttl=3).acquire()
        server.token = "another"
        wait_until(lambda: hold.lost)
        assert hold.lost is not None
        assert hold.lost.reason == "expired"
        for use in (client.lock_task("report").acquire, lambda: client.is_locked("report"), client.locks):
            with pytest.raises(LockApiError, match="does not accept these credentials") as refused:
                use()
            assert refused.value.status == 401
            assert not isinstance(refused.value, LockForbiddenError)
        with pytest.raises(LockLostError) as lost:
            hold.release()
        assert isinstance(lost.value.__cause__, LockApiError)
        assert lost.value.__cause__.status == 401


def test_a_token_file_that_is_gone_is_an_error_that_says_so(place: Place, tokens: Tokens) -> None:
    client: LockClient = place.client(kubeconfig=tokens.kubeconfig)
    with pytest.raises(LockApiError, match=r"No such file or directory' \(a file that it names\)"):
        client.lock_task("report").acquire()


def test_an_unknown_authority_is_an_error_that_says_what_to_check(place: Place, tmp_path: Path) -> None:
    config = json.loads(Path(place.kubeconfig).read_text())
    del config["clusters"][0]["cluster"]["certificate-authority"]
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    with pytest.raises(LockApiError, match="check the certificate authority"):
        place.client(kubeconfig=str(path)).lock_task("report").acquire()
