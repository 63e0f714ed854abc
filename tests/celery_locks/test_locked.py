"""The decorator by itself: what it refuses where it is written, and what it does to calls in this process."""

from __future__ import annotations

import logging
import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery, Task, shared_task
from hypothesis import given
from hypothesis import strategies as st

from contract.place import wait_until
from tasklock import InvalidLockError, LockApiError, LockClient, TaskLockedException
from tasklock.contrib.celery import current_hold, locked
from tasklock.contrib.celery.key import Key
from tasklock.contrib.celery.locked import _seconds_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contract.place import Place


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("shop", set_as_current=True)
    app.conf.update(task_always_eager=True, task_eager_propagates=False)
    yield app
    app.close()


@pytest.fixture
def client(embedded: Place) -> LockClient:
    return embedded.client("shop")


def update(user_id: int, *rest: object, day: str = "today", **more: object) -> object:
    return user_id, rest, day, more


def named(key: str, *args: object, **kwargs: object) -> str:
    return Key(key, update).name(args, kwargs)


class TestKey:
    def test_is_made_of_the_arguments_of_the_call(self) -> None:
        assert named("user_{user_id}_{day}", 7) == "user_7_today"
        assert named("user_{user_id:04d}{{}}", day="monday", user_id=7) == "user_0007{}"
        assert named("{day:%d.%m.}", 1, day=date(2024, 2, 29)) == "29.02."

    @given(text=st.text(min_size=1, max_size=50), day=st.text(max_size=50))
    def test_takes_arguments_as_text_and_never_as_a_pattern(self, text: str, day: str) -> None:
        assert named("of {user_id} on {day}", text, day=day) == f"of {text} on {day}"

    @pytest.mark.parametrize(
        ("key", "words"),
        [
            ("user_{user}", "names an argument 'user' that the task does not have; it has 'user_id', 'day'"),
            ("{rest}", "names an argument 'rest' that the task does not have"),
            ("{more}", "names an argument 'more' that the task does not have"),
            ("user_{}", "has {}, which names no argument: name it; it has 'user_id', 'day'"),
            ("user_{0}", "has {0}, which names no argument"),
            ("{user_id.__class__}", "only whole arguments can be in a key"),
            ("{user_id[0]}", "only whole arguments can be in a key"),
            ("{user_id:{day}}", "only whole arguments can be in a key"),
            ("{user_id", "cannot be read (expected '}' before end of string): write {{"),
            ("{user_id!x}", "cannot be read (no such conversion: !x)"),
            ("user}", "cannot be read (Single '}' encountered in format string)"),
            ("", "a lock's name may not be empty"),
            (7, "a lock's key must be a string, not int: 7"),
        ],
    )
    def test_that_does_not_fit_is_refused_where_it_is_written(self, key: Any, words: str) -> None:
        with pytest.raises(InvalidLockError, match=re.escape(words)):
            locked(key)(update)

    @pytest.mark.parametrize(
        "value", [object(), {"b": 1, "a": 2}, {1, 2}, [1, 2], (1, 2), Task()], ids=lambda value: type(value).__name__
    )
    def test_takes_no_value_that_each_process_would_write_differently(self, value: object) -> None:
        with pytest.raises(InvalidLockError, match="needs a number or a text as 'user_id'"):
            named("{user_id}", value)

    def test_that_does_not_fit_the_arguments_is_a_sentence_of_ours(self) -> None:
        with pytest.raises(InvalidLockError, match=r"the key '{user_id:04d}' does not fit these arguments"):
            named("{user_id:04d}", "seven")

    def test_of_arguments_that_the_function_does_not_take_is_pythons_own_error(self) -> None:
        with pytest.raises(TypeError, match="missing a required argument: 'user_id'"):
            named("{user_id}")


class TestLocked:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"ttl": 0}, "ttl must be whole seconds"),
            ({"timeout": -1}, "timeout must be 0"),
            ({"when_locked": "wait"}, "when_locked must be 'retry', 'skip' or 'raise', not 'wait'"),
            ({"retry_after": "soon"}, "retry_after must be seconds, or None"),
            ({"retry_after": -1}, "retry_after must be seconds, or None"),
            ({"retry_after": float("nan")}, "retry_after must be seconds, or None"),
        ],
    )
    def test_refuses_values_that_no_lock_can_have(self, options: Any, words: str) -> None:
        with pytest.raises(InvalidLockError, match=words):
            locked("user", **options)

    def test_says_where_it_belongs(self, app: Celery) -> None:
        with pytest.raises(InvalidLockError, match=r"write it below @app.task, not above"):
            locked("user")(app.task(update))
        with pytest.raises(InvalidLockError, match=r"write it below @app.task, not above"):
            locked("user")(shared_task(update))

    def test_takes_plain_functions_only(self) -> None:
        async def coroutine() -> None: ...

        def generator() -> Iterator[int]:
            yield 1

        for function in (coroutine, generator, Task, 7):
            with pytest.raises(InvalidLockError, match="takes a plain function"):
                locked("user")(function)  # type: ignore[type-var]

    def test_leaves_celery_its_check_of_arguments(self, app: Celery) -> None:
        app.conf.task_always_eager = False

        @app.task(bind=True)
        @locked("user_{user_id}")
        def task(self: Any, user_id: int) -> None: ...

        with pytest.raises(TypeError, match="user_id"):
            task.apply_async(())
        assert task.__name__ == "task"

    def test_holds_the_lock_of_the_apps_name_while_the_body_runs(self, app: Celery, embedded: Place) -> None:
        """By default: the ambient cluster."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KUBECONFIG", embedded.kubeconfig)

            @app.task(bind=True)
            @locked("user_{user_id}", ttl=77)
            def task(self: Any, user_id: int) -> Any:
                hold, lease = current_hold(), embedded.lease(f"user_{user_id}", app="shop")
                assert hold is not None
                return hold.token, lease, self.request.id

            token, lease, task_id = task.delay(7).get()
        assert token == int(lease["metadata"]["resourceVersion"])
        assert lease["spec"]["leaseDurationSeconds"] == 77
        assert lease["metadata"]["annotations"]["tasklock.dev/note"] == f"{task.name}[{task_id}]"
        assert embedded.lease("user_7", app="shop") is None
        assert current_hold() is None

    def test_frees_the_lock_whatever_the_body_raises(self, app: Celery, client: LockClient) -> None:
        @app.task(bind=True, max_retries=0)
        @locked("ends", client=client)
        def task(self: Any, error: str) -> None:
            if error == "exit":
                raise SystemExit(1)
            raise self.retry(exc=ValueError(error))

        with pytest.raises(ValueError, match="retry"):
            task.delay("retry").get()
        with pytest.raises(SystemExit):
            task("exit")
        assert not client.is_locked("ends")

    def test_makes_a_task_that_cannot_come_back_fail(self, app: Celery, client: LockClient) -> None:
        task = app.task(locked("busy", client=client)(update))
        with client.lock_task("busy"):
            for call in (lambda: task(7), lambda: task.delay(7).get(), lambda: task.run(7)):
                with pytest.raises(TaskLockedException, match="lock 'busy' is held by"):
                    call()
        assert task(7) == task.delay(7).get() == (7, (), "today", {})

    def test_skips_with_none_and_says_so(
        self, app: Celery, client: LockClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        task = app.task(locked("busy", client=client, when_locked="skip")(update))
        with client.lock_task("busy"), caplog.at_level(logging.INFO, logger="tasklock"):
            assert task.delay(7).get() is None
        assert re.search(r"task '\S*celery_locks\S+\[\S+\]' was skipped: lock 'busy' is held by", caplog.text)

    def test_skips_no_task_because_the_api_server_is_away(self, app: Celery, tmp_path: Any) -> None:
        lost = LockClient("shop", kubeconfig=tmp_path / "nothing")
        for when in ("skip", "retry", "raise"):
            task = app.task(locked("busy", client=lost, when_locked=when)(update), name=when)  # type: ignore[arg-type]
            with pytest.raises(LockApiError):
                task.delay(7).get()

    @pytest.mark.parametrize(
        "name",
        [
            pytest.param("ünï/çødé ☃ 𝄞", id="unicode"),
            pytest.param("line\nbreak\r\x00\x1b[31m", id="control characters"),
            pytest.param("\u202e\u2028", id="nothing to be seen"),
            pytest.param("{}%s%(message)s", id="patterns"),
            pytest.param("x" * 2000, id="long"),
            pytest.param("\ud800", id="a lone surrogate"),
        ],
    )
    def test_takes_a_task_of_any_name(
        self, app: Celery, client: LockClient, embedded: Place, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        @app.task(name=name)
        @locked("any", client=client, when_locked="skip")
        def task() -> Any:
            return embedded.lease("any", app="shop")["metadata"]["annotations"]["tasklock.dev/note"]

        assert task.delay().get().startswith(name[:100].encode(errors="replace").decode())
        with client.lock_task("any"), caplog.at_level(logging.INFO, logger="tasklock"):
            assert task.delay().get() is None
        (line,) = [line for line in caplog.messages if "was skipped: lock 'any' is held by" in line]
        assert line.isascii()
        assert line.isprintable()

    def test_is_not_re_entrant(self, app: Celery, client: LockClient) -> None:
        @app.task
        @locked("outer_{number}", client=client)
        def task(number: int) -> Any:
            return task.run(number - 1) if number % 2 else task.run(number)

        with pytest.raises(InvalidLockError, match="lock 'outer_2' is held by this task already, and is not re-entr"):
            task(3)
        assert not client.locks()

    def test_takes_over_a_lock_that_looks_abandoned(self, app: Celery, embedded: Place) -> None:
        """Watches it for as long as it takes to be sure, though it tries but once."""
        client = embedded.client("shop")
        task = app.task(locked("abandoned", client=client)(update))
        embedded.plant("abandoned", ttl=1, app="shop")
        with pytest.raises(TaskLockedException):
            task(7)
        wait_until(lambda: client.locks()[0].stale)
        task = app.task(locked("abandoned", client=embedded.client("shop"))(update), name="of a fresh client")
        assert task(7) == (7, (), "today", {})


class TestRetryAfter:
    def test_is_as_long_as_the_lock_was_held_from_a_second_to_a_minute(self) -> None:
        for held, ttl, expected in ((0.1, 30, 1), (10, 30, 10), (1000, 30, 30), (1000, 3600, 60), (-1000, 30, 1)):
            error = TaskLockedException("", since=datetime.now(UTC) - timedelta(seconds=held), ttl=ttl)
            assert all(0.8 * expected - 0.1 <= _seconds_until(error) <= 1.2 * expected + 0.1 for _ in range(50))

    def test_is_spread_where_nobody_can_tell(self) -> None:
        assert all(0.8 <= _seconds_until(TaskLockedException("")) <= 1.2 for _ in range(50))
        assert all(5 <= _seconds_until(LockApiError("")) <= 15 for _ in range(50))
