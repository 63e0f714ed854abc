"""The pytest plugin, as a user's test suite sees it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]


def test_a_user_gets_a_server_for_each_test_by_naming_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import json, urllib.request

        PATH = "/apis/coordination.k8s.io/v1/namespaces/default/leases"

        def create(api):
            body = json.dumps({"metadata": {"name": "a"}}).encode()
            request = urllib.request.Request(api.url + PATH, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request) as response:
                assert response.status == 201

        def test_one(tasklock_api):
            create(tasklock_api)

        def test_two_has_a_server_of_its_own(tasklock_api):
            create(tasklock_api)
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)


def test_the_plugin_imports_nothing_heavy() -> None:
    check = (
        "import sys, tasklock.testing.plugin\n"
        "heavy = {'aiohttp', 'trustme', 'kubernetes', 'yaml', 'tasklock.testing.server'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
