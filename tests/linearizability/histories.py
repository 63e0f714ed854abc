"""Histories of real runs, and what the checker says of them; the model is in ``cluster/go/porcupine``."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Operation = dict[str, Any]


def read(folder: Path, killed: Mapping[int, int]) -> list[Operation]:
    """Return the operations of all journals; ``killed`` has the clock, in ns, just before a process was killed, by pid.

    What the journals do not tell is how a lock ended that its holder lost, or died with. That is nobody's operation,
    ``end``, some time after the moment until which the holder counted on it, and before whatever needs it free.
    """
    found: list[Operation] = []
    for number, journal in enumerate(sorted(folder.glob("*.jsonl"))):
        calls: dict[int, Operation] = {}
        for line in journal.read_text().splitlines():
            facts = json.loads(line)
            call = calls.setdefault(facts["id"], {"client": number, "result": "unknown", "return": None})
            call |= facts
        found += _told(list(calls.values()), killed.get(int(journal.stem)))
    return found


def _told(calls: list[Operation], killed: int | None) -> list[Operation]:
    """Return what one process told, as the model knows it."""
    told: list[Operation] = []
    for call in calls:
        match call["op"], call["result"]:
            case ("acquire" | "held", "unknown"):  # no grant that it knew of; a lock that was lost instead
                continue
            case "release", "lost":
                assert call["reason"] == "expired", call  # nobody here ends what is renewed
                told.append(call | {"op": "end", "call": call["until"], "return": None, "result": "ok"})
            case "release", "trouble":
                told.append(call | {"return": None, "result": "unknown"})
            case _:
                told.append(call)
    ended = {call["token"] for call in told if call["op"] in {"release", "end"}}
    for call in [call for call in told if call["op"] == "acquire" and call["token"] not in ended]:
        assert killed is not None, call
        told.append(call | {"op": "end", "call": killed, "return": None})
    return told


def check(porcupine: Path, operations: Iterable[Operation], *, seconds: int = 60) -> dict[str, Any]:
    """Return the checker's answer: its ``result`` is Ok, Illegal, or Unknown where it did not come to an end."""
    lines = "".join(json.dumps(operation) + "\n" for operation in operations)
    done = subprocess.run([porcupine, f"-timeout={seconds}s"], input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
