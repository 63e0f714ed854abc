"""What becomes of a request: decided by chance as it is sent, or written by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasklock.protocol.effects import Reply

if TYPE_CHECKING:
    from random import Random

    from simulation.plan import Faults

NEAR, FAR = 0.001, 0.006  # seconds one way, when all is well
MOST = 50.0  # seconds for which a request may be under way: the server gives up what took a minute

REFUSALS: dict[int, tuple[str, dict[str, Any]]] = {
    409: ("Conflict", {}),
    429: ("TooManyRequests", {"retry_after": 1.0}),
    500: ("InternalError", {}),
    503: ("ServiceUnavailable", {}),
    504: ("Timeout", {}),
    401: ("Unauthorized", {}),
    403: ("Forbidden", {}),
}


def refusal(status: int) -> Reply:
    """Return what the server, or something before it, answers instead."""
    reason, more = REFUSALS[status]
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": reason, "code": status}
    return Reply(status=status, body=body, **more)


@dataclass(slots=True)
class Fate:
    """What becomes of one request; all times in seconds."""

    name: str = ""
    out: float = NEAR
    back: float = NEAR
    arrives: bool = True
    answered: bool = True  # else the connection is silent, or breaks if ``breaks``
    breaks: bool = False
    refused: bool = False  # no connection: nothing was sent
    instead: int = 0  # this status in place of the answer
    again: float | None = None  # a second copy arrives so much later

    @property
    def carried_out(self) -> bool:
        """Whether the server does what was asked, whatever it answers."""
        return not self.instead or self.breaks

    def strike(self, dice: Random, faults: Faults, *, writes: bool) -> None:
        """Let one thing go wrong with it."""
        self.name = dice.choice(faults.requests)
        seconds = min(MOST, dice.choice((0.2, 2.0, 8.0, 60.0)) * dice.random())
        match self.name:
            case "refused":
                self.refused = True
            case "lost before":
                self.arrives = False
            case "lost after":
                self.answered = False
            case "broken after":
                self.breaks = True
            case "slow there":
                self.out += seconds
                self.name += f" {seconds:.2f} s"
            case "slow back":
                self.back += seconds
                self.name += f" {seconds:.2f} s"
            case "twice":
                self.again = seconds
                self.name += f", {seconds:.2f} s apart"
            case "status":
                self.instead = dice.choice((429, 500, 503, 504) + (409,) * writes)
                self.name += f" {self.instead}"
            case "status after":
                self.instead = dice.choice((500, 503, 504))
                self.breaks = True  # it was carried out all the same
                self.name += f" {self.instead}"
