"""A server that answers with 100 MB, or with one endless line: refused, and the process hardly grows."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bad_input.servers import Server, always, kubeconfig

if TYPE_CHECKING:
    import socket

    from bad_input.servers import Answer

FLOOD = 100 * 2**20
BLOCK = b"x" * 2**18
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def flood(head: bytes, *, chunked: bool = False, block: bytes = BLOCK) -> Answer:
    def answer(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(head)
        for _ in range(FLOOD // len(block)):
            connection.sendall(b"%x\r\n%s\r\n" % (len(block), block) if chunked else block)
        raise EOFError

    return answer


LENGTH = OK + b"Content-Length: %d\r\n\r\n" % FLOOD
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ERROR = b"HTTP/1.1 500 X\r\nContent-Length: %d\r\n\r\n" % FLOOD
CASES: dict[str, tuple[str, Answer, str]] = {
    "a reply of known length": ("reply", flood(LENGTH), "more than 16,777,216 bytes"),
    "a reply in chunks": ("reply", flood(CHUNKED, chunked=True), "more than 16,777,216 bytes"),
    "an error's body": ("reply", flood(ERROR), "more than 16,777,216 bytes"),
    "one header": ("reply", flood(OK + b"X: "), "the connection broke"),
    "ever more headers": ("reply", flood(OK, block=b"X: y\r\n" * 10_000), "the connection broke"),
    "a line of a watch": ("watch", flood(CHUNKED, chunked=True), "200 ENDED"),
    "a reply on a loop": ("reply on a loop", flood(CHUNKED, chunked=True), "more than 16,777,216 bytes"),
    "an error's body on a loop": ("reply on a loop", flood(ERROR), "more than 16,777,216 bytes"),
    "one header on a loop": ("reply on a loop", flood(OK + b"X: "), "the connection broke"),
    "a line of a watch on a loop": ("watch on a loop", flood(CHUNKED, chunked=True), "200 ENDED"),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, float]]:
    """Have one process meet all of them; give what it said, and by how many megabytes it grew."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("measures memory by Linux's /proc")

    def path(ending: ExitStack, answer: Answer) -> str:
        return kubeconfig(tmp_path_factory.mktemp("flood"), ending.enter_context(Server(answer)).url)

    with ExitStack() as ending:
        cases = {name: (use, path(ending, answer)) for name, (use, answer, _) in CASES.items()}
        order = json.dumps([path(ending, always(200, "{}", kind="application/json")), cases])
        flooded = Path(__file__).with_name("flooded.py")
        done = subprocess.run([sys.executable, str(flooded), order], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, tuple[str, float]] = json.loads(done.stdout)
    print({name: round(grown, 1) for name, (_, grown) in found.items()})
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_flood_is_refused_and_the_process_grows_little(said: dict[str, tuple[str, float]], case: str) -> None:
    told, grown = said[case]
    assert CASES[case][2] in told
    assert grown < 40, "the 16 MB that a reply may have, twice while it grows, and a little"
