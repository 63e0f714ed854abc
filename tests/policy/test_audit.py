"""What the API server's audit log says of a lock that was freed by force."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chart.render import NAMESPACE, RELEASE
from contract.place import wait_until
from policy.village import POLICY, operator

if TYPE_CHECKING:
    from policy.village import Village

KEY = f"{POLICY}/by-force"


def events(village: Village, name: str) -> list[Any]:
    """Return what the audit log holds of one Lease, once its DELETE is among it."""

    def found() -> list[Any]:
        lines = village.control_plane.log("audit").read_text().splitlines()
        all_of_them = [json.loads(line) for line in lines if f'"{name}"' in line]
        return all_of_them if any(event["verb"] == "delete" for event in all_of_them) else []

    wait_until(found)
    return found()


def test_it_says_who_forced_which_lock_of_whom(village: Village) -> None:
    held = village.held(village.pod())
    name = held["metadata"]["name"]
    assert village.person("boss", "admin").delete(name).status == 200
    (event,) = (event for event in events(village, name) if event["verb"] == "delete")
    assert event["annotations"][KEY] == (
        f"system:serviceaccount:jobs:boss, not being the pod that holds it, asked for DELETE of lock jobs/{name}, "
        f"held by {held['spec']['holderIdentity']}"
    )
    assert event["responseStatus"]["code"] == 200


def test_it_says_who_tried(village: Village) -> None:
    name = village.held(village.pod())["metadata"]["name"]
    assert village.pod().leases.delete(name).status == 403
    (event,) = (event for event in events(village, name) if event["verb"] == "delete")
    assert "not being the pod that holds it" in event["annotations"][KEY]
    assert event["responseStatus"]["code"] == 403


def test_holder_and_operator_leave_no_such_mark(village: Village) -> None:
    village.bind(RELEASE, "edit", of=NAMESPACE)
    pod = village.pod()
    name = village.held(pod)["metadata"]["name"]
    assert pod.leases.delete(name).status == 200
    assert not any(KEY in event.get("annotations", {}) for event in events(village, name))
    name = village.held(pod)["metadata"]["name"]
    assert operator(village).delete(name).status == 200
    assert not any(KEY in event.get("annotations", {}) for event in events(village, name))
