"""The Django recipe: in a project of its own by ``django-admin``, by ``call_command``, and as its docstring says."""

from __future__ import annotations

import io
import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("django")

import django
import django_command
from django.conf import settings
from django.core.management import CommandError, call_command

from contract.place import wait_until
from recipes.children import RECIPES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from contract.place import Place
    from recipes.children import Child, Start

    Manage = Callable[..., Child]

REBUILD = """
import pathlib, time
from django_command import OneAtATime

class Command(OneAtATime):
    lock = "rebuild-index"

    def add_arguments(self, parser):
        parser.add_argument("--full", action="store_true")

    def handle(self, *args, full, **options):
        self.stdout.write(f"at work, full={full}")
        self.stdout.flush()
        while not pathlib.Path("go").exists():
            self.hold.ensure_held()
            time.sleep(0.02)
        self.stdout.write("done")
"""
MIGRATE = """
from django.core.management.commands import migrate
from django_command import OneAtATime

class Command(OneAtATime, migrate.Command):
    lock = "migrate"
"""
SETTINGS = """
INSTALLED_APPS = ["django.contrib.contenttypes", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db"}}
SECRET_KEY = "of a test"
"""


@pytest.fixture
def manage(start: Start, tmp_path: Path) -> Manage:
    """Make a project whose commands are locked; return what runs ``django-admin`` there."""
    commands = tmp_path / "shop" / "management" / "commands"
    commands.mkdir(parents=True)
    for package in (commands.parents[1], commands.parent, commands):
        (package / "__init__.py").touch()
    (commands / "rebuild_index.py").write_text(REBUILD)
    (commands / "migrate.py").write_text(MIGRATE)
    (tmp_path / "shop_settings.py").write_text(SETTINGS)
    more = {"DJANGO_SETTINGS_MODULE": "shop_settings", "PYTHONPATH": f"{tmp_path}{os.pathsep}{RECIPES}"}
    return lambda *arguments: start(sys.executable, "-m", "django", *arguments, **more)


def test_of_two_at_once_one_works_and_the_other_ends_with_75_and_a_sentence(
    place: Place, manage: Manage, tmp_path: Path
) -> None:
    two = [manage("rebuild_index", "--full"), manage("rebuild_index", "--full")]
    two[0].until(lambda: any(one.ended for one in two), "one of them had ended")
    refused, at_work = sorted(two, key=lambda one: not one.ended)
    assert refused.status() == 75, refused.said
    assert refused.said.startswith("CommandError: lock 'rebuild-index' is held by ")
    assert len(refused.said.splitlines()) == 1
    at_work.until_said("at work, full=True")
    waiting = manage("rebuild_index", "--wait")
    waiting.until_said(": waiting")
    assert "at work" not in waiting.said
    (tmp_path / "go").touch()
    assert (at_work.status(), waiting.status()) == (0, 0), waiting.said
    assert "at work, full=False\ndone\n" in waiting.said
    assert place.lease("rebuild-index", app="shop") is None


def test_djangos_own_migrate_is_locked_too(embedded: Place, manage: Manage) -> None:
    with embedded.client("shop").lock_task("migrate"):
        migrating = manage("migrate", "--wait", "--no-color")
        migrating.until_said(": waiting")
        assert "Applying" not in migrating.said
    assert migrating.status() == 0, migrating.said
    assert "Applying contenttypes.0001_initial... OK" in migrating.said


def test_the_recipe_runs_as_its_docstring_says_after_one_was_killed_and_after_one_was_stopped(
    embedded: Place, start: Start
) -> None:
    script = (sys.executable, RECIPES / "django_command.py")
    killed = start(*script)
    killed.until_said("step 1 of 10 under token")
    assert start(*script).status() == 75
    killed.kill()
    stopped = start(*script)
    stopped.until_said("step 1 of 10 under token")
    assert stopped.end() == 128 + 15, stopped.said
    assert embedded.lease("rebuild-index", app="shop") is None


@pytest.fixture
def call(embedded: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return what calls the recipe's command here, doing something after each step, and returns what it said."""
    if not settings.configured:
        settings.configure(LOGGING_CONFIG=None)
        django.setup()
    monkeypatch.setattr(django_command.OneAtATime, "client", embedded.client("shop", watch_holds=True))

    def call(between: Callable[[Any], object], **options: object) -> str:
        said = io.StringIO()
        command = django_command.Command(stderr=said)
        monkeypatch.setattr(django_command, "time", SimpleNamespace(sleep=lambda _: between(command)))
        call_command(command, stdout=said, **options)
        return said.getvalue()

    return call


def test_call_command_raises_an_error_that_carries_the_status(embedded: Place, call: Callable[..., str]) -> None:
    with embedded.client("shop").lock_task("rebuild-index"), pytest.raises(CommandError) as raised:
        call(pytest.fail)
    assert raised.value.returncode == 75
    assert call(lambda _: None, wait=True).count("under token") == 10


def test_a_lock_that_nobody_renews_is_watched_and_taken_by_one_who_comes_for_the_first_time(
    embedded: Place, call: Callable[..., str]
) -> None:
    """A try-once in a process of its own would be refused for ever: it has seen nothing yet."""
    embedded.plant("rebuild-index", app="shop", ttl=1)
    wait_until(lambda: embedded.client("shop").locks()[0].stale)
    said = call(lambda _: None)
    assert ": waiting\n" in said
    assert "step 10 of 10" in said


def test_one_that_loses_its_lock_ends_with_76_before_its_next_step(embedded: Place, call: Callable[..., str]) -> None:
    def lose(command: django_command.Command) -> None:
        embedded.client("shop").flush_locks()
        wait_until(lambda: command.hold.lost)

    with pytest.raises(CommandError, match="lock 'rebuild-index' was lost: its Lease was deleted") as raised:
        call(lose)
    assert raised.value.returncode == 76


def test_without_an_api_server_it_does_not_run_and_ends_with_69(embedded: Place, call: Callable[..., str]) -> None:
    assert embedded.server is not None
    embedded.server.stop()
    with pytest.raises(CommandError, match="rebuild-index") as raised:
        call(pytest.fail)
    assert raised.value.returncode == 69
