"""A forked child never renews or releases what its parent holds, and can take locks of its own."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from contract.place import strictly_increase, wait_until

if TYPE_CHECKING:
    from contract.place import Place
    from contract.programs import Programs

PROGRAM = Path(__file__).with_name("forking.py")


def test_a_child_leaves_its_parents_lock_alone_and_takes_its_own(place: Place, programs: Programs) -> None:
    seen: list[tuple[str, str]] = []
    over = threading.Event()

    def observe() -> None:
        while not over.wait(0.02):
            if lease := place.lease("report"):
                seen.append((lease["metadata"]["uid"], lease["spec"]["renewTime"]))

    observer = threading.Thread(target=observe)
    observer.start()
    try:
        order = {"client": {"kubeconfig": place.kubeconfig, "namespace": place.namespace}}
        found = programs.start(PROGRAM, order).hear("found")
    finally:
        over.set()
        observer.join()
    assert found["child"] == {
        "sees the parent's as locked": True,
        "is refused the parent's": True,
        "holds its own": True,
    }
    assert found["grandchild"] is True
    assert found["refused afterwards"] is False
    held = [renewed for uid, renewed in seen if uid == seen[0][0]]
    assert len(set(held)) >= 4  # the parent's was renewed all the time, and was one and the same
    assert held == sorted(held)
    wait_until(lambda: not place.leases.list()["items"])


def test_processes_forked_from_one_client_exclude_each_other(place: Place, programs: Programs, tmp_path: Path) -> None:
    """Prefork workers: one client is made before the fork, and used by all."""
    order = {
        "client": {"kubeconfig": place.kubeconfig, "namespace": place.namespace},
        "counter": str(tmp_path / "counter"),
        "workers": 4,
        "turns": 5,
    }
    done = programs.start(Path(__file__).with_name("prefork.py"), order).hear("done")
    assert (tmp_path / "counter").read_text() == "20"
    tokens = sorted(done["grants"], key=lambda grant: grant["at"])
    assert strictly_increase(grant["token"] for grant in tokens)
