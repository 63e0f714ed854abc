"""Label and field selectors: parsed as the API server parses them, with its messages, then matched against objects."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .status import bad_request, go_quote
from .validation import label_value_problems, qualified_name_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .kinds import Kind

_TOKEN = re.compile(r"\s*(==|!=|[=!<>(),]|[^\s=!<>(),]+)")
_OPERATORS = {"=", "==", "!=", "in", "notin", ">", "<"}
_SYMBOLS = {"=", "==", "!=", "!", ",", "(", ")", ">", "<"}


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One condition on a label: its key, an operator (`in`, `notin`, `exists`, `!`, `>`, `<`), and the values."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether an object with these labels meets it."""
        present = self.key in labels
        if self.operator == "in":
            return present and labels[self.key] in self.values
        if self.operator == "notin":
            return not present or labels[self.key] not in self.values
        if self.operator == "exists":
            return present
        if self.operator == "!":
            return not present
        number = _integer(labels.get(self.key, ""))
        if number is None:
            return False
        bound = int(self.values[0])
        return number > bound if self.operator == ">" else number < bound


@dataclass(frozen=True, kw_only=True)
class Selector:
    """Which objects a list or watch wants. `namespace` None: all; `name` is set where a field selector pins one."""

    namespace: str | None = None
    name: str | None = None
    labels: tuple[Requirement, ...] = ()
    fields: tuple[tuple[str, str, str], ...] = ()

    def matches(self, obj: dict[str, Any]) -> bool:
        """Whether the object is wanted."""
        metadata = obj["metadata"]
        if self.namespace is not None and metadata.get("namespace") != self.namespace:
            return False
        if self.name is not None and metadata["name"] != self.name:
            return False
        if self.labels and not all(wanted.matches(metadata.get("labels") or {}) for wanted in self.labels):
            return False
        return all((field_value(obj, path) == value) is (op == "=") for path, op, value in self.fields)


Term = tuple[str, str, str]


def select(kind: Kind, *, namespace: str | None, labels: str = "", fields: str = "") -> Selector:
    """Parse both selectors of a request. Raises StatusError 400."""
    return make_selector(kind, namespace, parse_labels(labels), parse_fields(fields))


def make_selector(
    kind: Kind, namespace: str | None, labels: tuple[Requirement, ...], fields: tuple[Term, ...]
) -> Selector:
    """Join what was parsed. Raises StatusError 400 for a field that this kind cannot be selected by."""
    known = ("metadata.name", *(("metadata.namespace",) if kind.namespaced else ()), *kind.fields)
    for path, _, _ in fields:
        if path not in known:
            raise bad_request(_unknown_field(kind, path))
    names = {value for path, operator, value in fields if path == "metadata.name" and operator == "="}
    return Selector(
        namespace=namespace if kind.namespaced else None,
        name=next(iter(names)) if len(names) == 1 else None,
        labels=labels,
        fields=fields,
    )


def field_value(obj: dict[str, Any], path: str) -> str:
    """Give the value at a dotted path, as text; empty where there is none."""
    if path == "source":  # of an Event: who reported it
        return str((obj.get("source") or {}).get("component") or obj.get("reportingComponent") or "")
    value: Any = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def parse_fields(text: str) -> tuple[Term, ...]:
    """Parse `a.b=c,d!=e` into (path, `=` or `!=`, value). Raises StatusError 400."""
    terms = []
    for term in re.findall(r"(?:\\.|[^\\,])+", text, re.DOTALL):
        match = re.match(r"((?:\\.|[^\\=!])*)(!=|==|=)(.*)", term, re.DOTALL)
        if match is None:
            message = f"invalid selector: '{text}'; can't understand '{term}'"
            raise bad_request(message)
        path, operator, value = match.groups()
        terms.append((path, "!=" if operator == "!=" else "=", re.sub(r"\\(.)", r"\1", value)))
    return tuple(terms)


def _unknown_field(kind: Kind, path: str) -> str:
    if kind.fields:
        return f"field label not supported: {path}"
    return f'{go_quote(path)} is not a known field selector: only "metadata.name", "metadata.namespace"'


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """Parse `a=b,c in (d,e),!f`. Raises StatusError 400."""
    return tuple(_Parser(text).requirements())


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _TOKEN.findall(text.strip())
        self.at = 0

    def requirements(self) -> Iterable[Requirement]:
        if not self.tokens:
            return
        if self._peek() in _SYMBOLS - {"!"}:
            msg = f"found '{self._peek()}', expected: !, identifier, or 'end of string'"
            raise bad_request(msg)
        while True:
            yield self._requirement()
            if not self._peek():
                return
            if self._peek() != ",":
                msg = f"found '{self._peek()}', expected: ',' or 'end of string'"
                raise bad_request(msg)
            self._next()
            if not self._peek() or self._peek() in _SYMBOLS - {"!"}:
                msg = f"found '{self._peek()}', expected: identifier after ','"
                raise bad_request(msg)

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self.at += 1
        return token

    def _requirement(self) -> Requirement:
        if self._peek() == "!":
            self._next()
            return self._checked(self._next(), "!")
        key = self._next()
        if self._peek() in {"", ","}:
            return self._checked(key, "exists")
        operator = self._next()
        if operator not in _OPERATORS:
            msg = f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt"
            raise bad_request(msg)
        if operator in {"in", "notin"}:
            return self._checked(key, operator, self._value_list())
        value = "" if self._peek() in {"", ","} else self._next()
        return self._checked(key, {"=": "in", "==": "in", "!=": "notin"}.get(operator, operator), (value,))

    def _value_list(self) -> tuple[str, ...]:
        if self._next() != "(":
            self.at -= 1
            msg = f"unable to parse requirement: found '{self._peek()}' expected: '('"
            raise bad_request(msg)
        values: list[str] = []
        expects_value = True
        while True:
            word = self._next()
            if word == ")":
                return (*values, "") if expects_value else tuple(values)
            if word == ",":
                values.extend([""] if expects_value else [])
                expects_value = True
            elif word in _SYMBOLS or not word or not expects_value:
                msg = f"unable to parse requirement: found '{word}', expected: ',' or ')'"
                raise bad_request(msg)
            else:
                values.append(word)
                expects_value = False

    def _checked(self, key: str, operator: str, values: tuple[str, ...] = ()) -> Requirement:
        self._refuse("<nil>", key, qualified_name_problems)
        for index, value in enumerate(values):
            self._refuse(f"values[{index}][{key}]", value, label_value_problems)
        if operator in {">", "<"} and _integer(values[0]) is None:
            msg = (
                f"unable to parse requirement: values[0]: Invalid value: {go_quote(values[0])}: "
                "for 'Gt', 'Lt' operators, the value must be an integer"
            )
            raise bad_request(msg)
        return Requirement(key=key, operator=operator, values=values)

    def _refuse(self, where: str, text: str, check: Callable[[str], list[str]]) -> None:
        problems = check(text)
        if problems:
            msg = f"unable to parse requirement: {where}: Invalid value: {go_quote(text)}: {'; '.join(problems)}"
            raise bad_request(msg)


def _integer(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?\d+", text, re.ASCII) else None
