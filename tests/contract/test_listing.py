"""locks(): what is held, by whom, since when."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from contract.place import APP, wait_until
from tasklock import LockForbiddenError, LockInfo
from tasklock.lease import microtime
from tasklock.naming import lease_name

if TYPE_CHECKING:
    from contract.place import Place
    from tasklock import LockClient


def the_only(client: LockClient) -> LockInfo:
    (info,) = client.locks()
    return info


def test_a_held_lock_is_shown_with_its_facts(place: Place, client: LockClient, other: LockClient) -> None:
    with client.lock_task("user_42_processing", ttl=45, note="task 7") as hold:
        info = the_only(other)
        assert (info.name, info.app, info.namespace) == ("user_42_processing", APP, place.namespace)
        assert info.lease == lease_name(APP, "user_42_processing")
        assert info.holder == place.lease("user_42_processing")["spec"]["holderIdentity"]
        assert (info.ttl, info.note, info.pod, info.stale) == (45, "task 7", None, False)
        assert info.since is not None
        assert abs(datetime.now(UTC) - info.since) < timedelta(seconds=30)
        assert info.age is not None
        assert 0 <= info.age < 30
        assert info.expires_in is not None
        assert 15 < info.expires_in < 47
        assert info.token == hold.token
    assert other.locks() == []


def test_the_token_is_shown_after_the_first_renewal(client: LockClient, other: LockClient) -> None:
    with client.lock_task("report", ttl=1) as hold:
        wait_until(lambda: the_only(other).token == hold.token)


def test_the_longest_held_comes_first_and_its_age_grows(place: Place, client: LockClient) -> None:
    place.plant("first", ttl=600)
    time.sleep(0.05)
    with client.lock_task("second"):
        first, second = client.locks()
        assert (first.name, second.name) == ("first", "second")
        assert first.age is not None
        time.sleep(1.1)
        again = client.locks()[0]
        assert again.age is not None
        assert again.age > first.age
        assert again.since == first.since


def test_a_lock_that_is_not_renewed_is_hinted_to_be_stale(place: Place, client: LockClient) -> None:
    alive = place.plant("alive", ttl=1)["metadata"]["name"]
    place.plant("abandoned", ttl=1)

    def hints() -> dict[str, bool]:
        renewed = {"renewTime": microtime(datetime.now(UTC))}
        assert place.leases.patch(alive, {"spec": renewed}).status == 200
        return {info.name: info.stale for info in client.locks()}

    assert hints() == {"abandoned": False, "alive": False}
    wait_until(lambda: hints() == {"abandoned": True, "alive": False}, every=0.1)


def test_only_the_locks_of_the_app_are_shown_unless_all_are_asked_for(place: Place, client: LockClient) -> None:
    place.plant("mine", ttl=600)
    place.plant("theirs", ttl=600, app="another-app")
    place.leases.create("leader-election")
    assert [info.name for info in client.locks()] == ["mine"]
    assert {(info.app, info.name) for info in client.locks(all_apps=True)} == {
        (APP, "mine"),
        ("another-app", "theirs"),
    }


def test_more_locks_than_one_page_holds_are_shown_and_flushed(embedded: Place) -> None:
    client = embedded.client()
    for number in range(501):
        embedded.plant(f"lock-{number}", ttl=600)
    assert len(client.locks()) == 501
    assert len(client.flush_locks()) == 501
    assert client.locks() == []


def test_all_namespaces_are_shown_to_whoever_may_list_them(place: Place, client: LockClient) -> None:
    place.plant("report", ttl=600)
    admin = place.client(kubeconfig=place.admin_kubeconfig, namespace="default")
    assert admin.locks() == []
    shown = [info for info in admin.locks(all_namespaces=True) if info.namespace == place.namespace]
    assert [info.name for info in shown] == ["report"]
    if place.server is None:  # the embedded one forbids nothing
        with pytest.raises(LockForbiddenError) as forbidden:
            client.locks(all_namespaces=True)
        assert forbidden.value.verb == "list"
