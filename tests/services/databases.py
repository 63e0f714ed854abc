"""Databases that tests start for themselves, from Debian's packages, on unix sockets in folders of their own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self


class MissingError(Exception):
    """Raised where something optional is not installed; the message says what."""


class PostgreSQL:
    """A server on a unix socket in a folder of its own, as a user who is not root; ``url`` is for psycopg."""

    def __init__(self) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not programs:
            message = "PostgreSQL is not installed (apt-get install postgresql)"
            raise MissingError(message)
        if find_spec("psycopg") is None:
            message = "psycopg is not installed (pip install 'psycopg[binary]')"
            raise MissingError(message)
        self._programs = programs[-1].parent
        self._folder = Path(tempfile.mkdtemp(prefix="tasklock-pg-", dir="/tmp"))  # a socket's path is short
        self._user: dict[str, Any] = {}
        if os.getuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            self._user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(self._folder, entry.pw_uid, entry.pw_gid)
        self.url = f"postgresql:///postgres?host={self._folder}&user=test"

    def __enter__(self) -> Self:
        data = self._folder / "data"
        initialise = [self._programs / "initdb", "-D", data, "-U", "test", "-A", "trust", "-N", "-E", "UTF8"]
        with (self._folder / "log").open("ab") as log:
            subprocess.run(
                [*initialise, "--no-locale"], stdout=log, stderr=log, cwd=self._folder, check=True, **self._user
            )
            options = ["listen_addresses=", "fsync=off", "shared_buffers=8MB", "max_connections=30"]
            self._server = subprocess.Popen(
                [self._programs / "postgres", "-D", data, "-k", self._folder, *(f"--{one}" for one in options)],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **self._user,
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._server.send_signal(signal.SIGINT)  # ends every session
        self._server.wait(30)
        shutil.rmtree(self._folder)

    def _wait(self) -> None:
        import psycopg  # noqa: PLC0415 - optional

        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url).close()
            except psycopg.OperationalError:
                assert self._server.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.05)
            else:
                return


class Redis:
    """A server that keeps nothing on disk; ``socket`` is its path."""

    def __init__(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            message = "Redis is not installed (apt-get install redis-server)"
            raise MissingError(message)
        self._program = program
        self._folder = Path(tempfile.mkdtemp(prefix="tasklock-redis-", dir="/tmp"))  # a socket's path is short
        self.socket = str(self._folder / "socket")

    def __enter__(self) -> Self:
        options = ["--port", "0", "--unixsocket", self.socket, "--save", "", "--dir", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen([self._program, *options], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not Path(self.socket).exists():
            assert self._server.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.wait(30)
        shutil.rmtree(self._folder)
