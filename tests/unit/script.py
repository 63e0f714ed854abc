"""A fake world for protocol tests: virtual clocks, and a table of the requests that are expected, in order.

``World.run`` performs the effects of a generator. Clocks and sleeps cost nothing; every request has to be the next one
in the table, and one that nobody expected fails the test, as does one that was expected and never came. The events of a
watch are put on a time line with ``World.event``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from tasklock.lease import Claim, Lease, microtime
from tasklock.naming import lease_name
from tasklock.protocol.effects import Effect, Event, IsDead, Kind, Next, Now, Reply, Send, Sleep, Steps, Time, Watch

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
Json = dict[str, Any]
Answer = Reply | bool | None

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)  # the wall clock when the virtual clock is at START
START = 1000.0
APP, NAME = "app", "report"
LEASE = lease_name(APP, NAME)
ME, OTHER = "me_00000001", "other_99999999"
LATENCY = 0.01


def wall(clock: float) -> datetime:
    return EPOCH + timedelta(seconds=clock - START)


@dataclass
class Expected:
    """One row of the table: which request has to come, what it answers, after how many seconds."""

    what: str
    answer: Answer | Callable[[Any], Answer]
    takes: float = LATENCY


@dataclass
class World:
    """Virtual time, the table, and everything that was done."""

    clock: float = START
    table: deque[Expected] = field(default_factory=deque)
    events: deque[Event] = field(default_factory=deque)
    done: list[tuple[str, Effect]] = field(default_factory=list)
    rests: list[float] = field(default_factory=list)  # how long each Sleep was
    wall_jump: float = 0.0  # seconds by which somebody set the wall clock
    watching: bool = False

    def expect(self, *rows: Expected) -> World:
        self.table.extend(rows)
        return self

    def event(self, kind: Kind, obj: Json | None = None, *, at: float) -> World:
        """Have the open watch tell of a change ``at`` seconds after the start."""
        self.events.append(Event(kind, obj or {}, START + at))
        return self

    def run(self, steps: Steps[T], *, spare: bool = False) -> T:
        """Perform ``steps`` to the end; what they raise is raised. The table has to be used up then, or ``spare``."""
        outcome: Any = None
        try:
            while True:
                outcome = self.perform(steps.send(outcome))
        except StopIteration as end:
            self.check_done(spare=spare)
            result: T = end.value
            return result
        except AssertionError:
            raise
        except Exception:
            self.check_done(spare=spare)
            raise
        finally:
            steps.close()

    def check_done(self, *, spare: bool = False) -> None:
        assert spare or not self.table, f"expected and never sent: {[row.what for row in self.table]}; {self.requests}"

    def perform(self, effect: Effect) -> object:
        match effect:
            case Now():
                return self.now()
            case Sleep():
                self.rests.append(effect.until - self.clock)
                self.clock = max(self.clock, effect.until)
                return self.now()
            case Next():
                return self._next(effect)
            case Watch():
                self.watching = True
                return self._answer("WATCH", effect)
            case IsDead():
                return self._answer("DEAD?", effect)
            case Send():
                what = "LIST" if effect.method == "GET" and effect.lease is None else effect.method
                return self._answer(what, effect)

    def now(self) -> Time:
        return Time(self.clock, wall(self.clock + self.wall_jump))

    def _next(self, effect: Next) -> Event:
        assert self.watching, "waits for an event with no watch open"
        if self.events and self.events[0].at <= effect.until:
            event = self.events.popleft()
            self.clock = max(self.clock, event.at)
            self.watching = event.kind != "ENDED"
            return replace(event, at=self.clock)
        self.clock = max(self.clock, effect.until)
        return Event("QUIET", at=self.clock)

    def _answer(self, what: str, effect: Send | Watch | IsDead) -> Answer:
        expected = self.table.popleft() if self.table else None
        assert expected is not None, f"nobody expected {what}: {effect}, after {self.requests}"
        assert expected.what == what, f"expected {expected.what}, got {effect}, after {self.requests}"
        self.done.append((what, effect))
        answer = expected.answer(effect) if callable(expected.answer) else expected.answer
        if not isinstance(answer, Reply):
            return answer
        sent = self.clock
        assert not isinstance(effect, IsDead)
        if expected.takes > effect.timeout:
            answer, took = lost_reply(), effect.timeout
        else:
            took = expected.takes
        self.clock += took
        return replace(answer, sent=sent, received=self.clock)

    @property
    def requests(self) -> list[str]:
        return [what for what, _ in self.done]

    def sent(self, what: str, number: int = 0) -> Any:
        """Return the ``number``-th request of a kind."""
        return [effect for kind, effect in self.done if kind == what][number]


# rows of the table


def post(answer: Answer | Callable[[Any], Answer] | None = None, *, takes: float = LATENCY) -> Expected:
    return Expected("POST", created() if answer is None else answer, takes)


def listed(*objects: Json, version: str = "70", takes: float = LATENCY, date: datetime | None = None) -> Expected:
    body = {"kind": "LeaseList", "metadata": {"resourceVersion": version}, "items": list(objects)}
    return Expected("LIST", Reply(status=200, body=body, date=date), takes)


def listing_fails(answer: Reply, *, takes: float = LATENCY) -> Expected:
    return Expected("LIST", answer, takes)


def got(answer: Json | Reply, *, takes: float = LATENCY) -> Expected:
    return Expected("GET", answer if isinstance(answer, Reply) else Reply(status=200, body=answer), takes)


def watch(answer: Reply | None = None, *, takes: float = LATENCY) -> Expected:
    return Expected("WATCH", answer or Reply(status=200), takes)


def patch(answer: Answer | Callable[[Any], Answer], *, takes: float = LATENCY) -> Expected:
    return Expected("PATCH", answer, takes)


def delete(answer: Reply | None = None, *, takes: float = LATENCY) -> Expected:
    return Expected("DELETE", answer or Reply(status=200, body={"kind": "Status", "status": "Success"}), takes)


IS_DEAD = Expected("DEAD?", answer=True)
IS_ALIVE = Expected("DEAD?", answer=False)
IS_NO_NEIGHBOUR = Expected("DEAD?", answer=None)


# answers


def created(*, uid: str = "uid-me", version: str = "77") -> Callable[[Send], Reply]:
    """Answer a POST as the server does: 201 and the object, with uid and resourceVersion."""

    def answer(effect: Send) -> Reply:
        body = effect.body or {}
        metadata = {**body["metadata"], "namespace": "default", "uid": uid, "resourceVersion": version}
        return Reply(status=201, body={**body, "metadata": metadata})

    return answer


def patched(obj: Json, *, version: str, **spec: object) -> Callable[[Send], Reply]:
    """Answer a renewal of ``obj``: 200 and the object with the new renewTime; ``spec`` is what somebody else wrote."""

    def answer(effect: Send) -> Reply:
        body = effect.body or {}
        metadata = {**obj["metadata"], "resourceVersion": version}
        return Reply(status=200, body={**obj, "metadata": metadata, "spec": {**obj["spec"], **body["spec"], **spec}})

    return answer


def refused(code: int, reason: str, message: str = "", **details: object) -> Reply:
    """Return a Status of the API server."""
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message or reason, "code": code}
    retry_after = details.pop("retry_after", None)
    assert retry_after is None or isinstance(retry_after, float)
    return Reply(status=code, body={**body, "details": details}, retry_after=retry_after)


def exists() -> Reply:
    return refused(409, "AlreadyExists")


def missing() -> Reply:
    return refused(404, "NotFound")


def conflict() -> Reply:
    return refused(409, "Conflict")


def other_uid() -> Reply:
    return refused(422, "Invalid", causes=[{"field": "metadata.uid", "message": "field is immutable"}])


def lost_reply() -> Reply:
    return Reply(status=0, error="no answer from the API server at 'https://x': no answer in time: check the network")


def no_connection() -> Reply:
    return replace(lost_reply(), maybe_done=False)


# objects


def claim(*, ttl: int = 30, holder: str = ME) -> Claim:
    return Claim(lease=LEASE, app=APP, name=NAME, holder=holder, ttl=ttl, annotations={})


def lease(  # noqa: PLR0913 - each is one field of a Lease
    holder: str = OTHER,
    *,
    uid: str = "uid-other",
    version: str = "50",
    ttl: object = 30,
    name: str | None = NAME,
    app: str | None = APP,
    process: str | None = None,
    since: datetime = EPOCH,
    touched: datetime | None = None,
    lease: str = LEASE,
    **annotations: str,
) -> Json:
    """Return a Lease as the server shows it; of somebody else, where nothing else is said."""
    labels = {} if app is None else {"app.kubernetes.io/managed-by": "tasklock", "tasklock.dev/app": app}
    notes = {f"tasklock.dev/{key}": value for key, value in annotations.items()}
    if name is not None:
        notes["tasklock.dev/name"] = name
    if process is not None:
        notes["tasklock.dev/process"] = process
    stamped = touched or since
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": lease,
            "namespace": "default",
            "uid": uid,
            "resourceVersion": version,
            "labels": labels,
            "annotations": notes,
            "managedFields": [{"manager": "tasklock", "time": f"{stamped:%Y-%m-%dT%H:%M:%SZ}"}],
        },
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": ttl,
            "acquireTime": microtime(since),
            "renewTime": microtime(since),
        },
    }


def my_lease(*, uid: str = "uid-me", version: str = "77", ttl: int = 30, at: float = START) -> Json:
    """Return our own Lease as the server shows it, created ``at``."""
    body = claim(ttl=ttl).body(wall(at))
    return {**body, "metadata": {**body["metadata"], "namespace": "default", "uid": uid, "resourceVersion": version}}


def parsed(obj: Json) -> Lease:
    return Lease.parse(obj)
