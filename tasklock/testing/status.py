"""The API server's failures: one exception that carries a `metav1.Status`, and a constructor for each reason."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .kinds import Kind

OPTIMISTIC_LOCK = "the object has been modified; please apply your changes to the latest version and try again"
NO_SUCH_RESOURCE = "the server could not find the requested resource"
INVALID = 422


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One reason why an object is invalid; `field` is a JSON path such as `metadata.uid`."""

    reason: str
    message: str
    field: str

    @property
    def json(self) -> dict[str, str]:
        """As it stands in `status.details.causes`."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


@dataclass(kw_only=True, eq=False)  # not frozen: Python itself sets attributes of exceptions
class StatusError(Exception):
    """Raised when the API server would refuse; `json` is the Status it would answer with."""

    code: int
    message: str
    reason: str = ""
    details: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.code} {self.reason}: {self.message}"

    @property
    def json(self) -> dict[str, Any]:
        """The Status object."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = dict(self.details)
        return status | {"code": self.code}


def bad_request(message: str) -> StatusError:
    """400: what was sent cannot be read."""
    return StatusError(code=400, reason="BadRequest", message=message)


def internal(message: str) -> StatusError:
    """500 without a reason, as the real one answers a resourceVersion that is no number."""
    return StatusError(code=500, message=message)


def not_found(kind: Kind, name: str) -> StatusError:
    """404: no such object."""
    return StatusError(
        code=404, reason="NotFound", message=f'{kind.qualified} "{name}" not found', details=_about(kind, name)
    )


def no_such_resource() -> StatusError:
    """404: no such path."""
    return StatusError(code=404, reason="NotFound", message=NO_SUCH_RESOURCE, details={})


def method_not_allowed() -> StatusError:
    """405: the path exists, the method does not."""
    message = "the server does not allow this method on the requested resource"
    return StatusError(code=405, reason="MethodNotAllowed", message=message, details={})


def already_exists(kind: Kind, name: str, *, being_deleted: bool = False, generated: bool = False) -> StatusError:
    """409: a create met an object of that name; `generated` where the body asked for a name to be made."""
    message = f'{"object is being deleted: " if being_deleted else ""}{kind.qualified} "{name}" already exists'
    details, headers = _about(kind, name), {}
    if generated:
        message += ", the server was not able to generate a unique name for the object"
        details, headers = details | {"retryAfterSeconds": 1}, {"Retry-After": "1"}
    return StatusError(code=409, reason="AlreadyExists", message=message, details=details, headers=headers)


def conflict(kind: Kind, name: str, why: str = OPTIMISTIC_LOCK) -> StatusError:
    """409: a write carried another resourceVersion, or a PUT another uid, than the object has."""
    message = f'Operation cannot be fulfilled on {kind.qualified} "{name}": {why}'
    return StatusError(code=409, reason="Conflict", message=message, details=_about(kind, name))


def failed_precondition(kind: Kind, name: str, why: str) -> StatusError:
    """409: a delete's preconditions do not hold. The real one names the kind here, not the resource."""
    message = f'Operation cannot be fulfilled on {kind.qualified_kind} "{name}": {why}'
    details = _about(kind, name) | {"kind": kind.kind}
    return StatusError(code=409, reason="Conflict", message=message, details=details)


def invalid(group: str, kind: str, name: str, causes: Iterable[Cause]) -> StatusError:
    """422: every cause is listed; the message names each one once."""
    causes = list(causes)
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    title = f"{kind}.{group}" if group else kind
    details: dict[str, Any] = {"name": name} if name else {}
    details |= {key: value for key, value in (("group", group), ("kind", kind)) if value}
    details["causes"] = [cause.json for cause in causes]
    message = f'{title} "{name}" is invalid: {listed}'
    return StatusError(code=INVALID, reason="Invalid", message=message, details=details)


def unprocessable_patch(value: str, why: str) -> StatusError:
    """422: a patch led to something that is no object of the kind. The real one leaves kind and name empty."""
    cause = Cause(reason="FieldValueInvalid", message=f"Invalid value: {go_quote(value)}: {why}", field="patch")
    error = invalid("", "", "", [cause])
    return StatusError(code=error.code, reason=error.reason, message=error.message, details={"causes": [cause.json]})


def rejected_json_patch() -> StatusError:
    """422: an operation of a JSON patch cannot be done: a failed test, a missing path."""
    message = "the server rejected our request due to an error in our request"
    return StatusError(code=INVALID, reason="Invalid", message=message, details={})


def unsupported_media_type(*, patch: bool) -> StatusError:
    """415: the Content-Type is none that this method takes."""
    if patch:
        message = "415: Unsupported Media Type"
        return StatusError(code=415, reason="UnsupportedMediaType", message=message, details={})
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )
    return StatusError(code=415, reason="UnsupportedMediaType", message=message)


def too_large(limit: int) -> StatusError:
    """413: the body has more than `limit` bytes."""
    message = f"Request entity too large: limit is {limit}"
    return StatusError(code=413, reason="RequestEntityTooLarge", message=message, details={})


def expired(message: str) -> StatusError:
    """410: that version of the history has been compacted away."""
    return StatusError(code=410, reason="Expired", message=message)


def too_large_version(asked: int, current: int) -> StatusError:
    """504: a resourceVersion that this server has not reached yet."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    details = {"causes": [cause], "retryAfterSeconds": 1}
    return StatusError(code=504, reason="Timeout", message=message, details=details, headers={"Retry-After": "1"})


def unauthorized() -> StatusError:
    """401: no credentials, or wrong ones."""
    return StatusError(code=401, reason="Unauthorized", message="Unauthorized")


@contextmanager
def warned(warnings: list[str]) -> Iterator[None]:
    """Send the warnings about a body's fields along with a refusal that comes later."""
    try:
        yield
    except StatusError as error:
        error.warnings = tuple(warnings)
        raise


def go_quote(text: str) -> str:
    r"""Quote as Go's %q does: `A "b"` becomes `"A \"b\""`."""
    names = {'"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r"}
    names |= {"\t": "\\t", "\v": "\\v"}
    quoted = []
    for char in text:
        if char in names:
            quoted.append(names[char])
        elif char.isprintable():
            quoted.append(char)
        else:
            code = ord(char)
            quoted.append(f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}")  # noqa: PLR2004 - ASCII ends
    return f'"{"".join(quoted)}"'


def go_format(value: object) -> str:
    """Format as Go's %v does: `map[a:1 b:[x y]]`."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{go_format(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(go_format(item) for item in value)}]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _about(kind: Kind, name: str) -> dict[str, Any]:
    group = {"group": kind.group} if kind.group else {}
    return {"name": name, **group, "kind": kind.plural}
