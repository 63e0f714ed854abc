"""A wrapper's death says nothing of its command: `tasklock run` names no process that neighbours could find dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from tasklock.cli.commands import cli
from tasklock.lease import PROCESS
from tasklock.testing import ApiServer
from tasklock.testing.kinds import LEASES

if TYPE_CHECKING:
    import pytest

    from tasklock import LockClient


def test_a_wrapper_does_not_name_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`kill -9` of the wrapper would otherwise let a neighbour in while what its command started still runs."""
    with ApiServer() as api:
        found: list[dict[str, Any]] = []

        class Looks:
            def __init__(self, client: LockClient, name: str, **_: object) -> None:
                self.client, self.name = client, name

            def run(self, _: object) -> int:
                with self.client.lock_task(self.name) as hold:
                    found.append(api.call(lambda store: store.get(LEASES, "default", hold.lease)))
                return 0

        monkeypatch.setattr("tasklock.cli.supervise.Supervisor", Looks)
        result = CliRunner().invoke(cli, ["--kubeconfig", str(api.kubeconfig), "run", "report", "--", "true"])
    assert result.exit_code == 0, result.output
    assert PROCESS not in found[0]["metadata"]["annotations"]
