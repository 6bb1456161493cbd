"""The filter language of the public Files API: `content_type = "image/png" AND size_bytes > 1024`. Pure.

    filter     := all ("OR" all)*
    all        := one ("AND" one)*
    one        := "NOT" one | "(" filter ")" | field operator value
    operator   := "=" | "!=" | ">" | ">=" | "<" | "<="
    value      := "text" | 'text' | whole number | null

`files.py` parses a filter once per list call and asks it about every file. A field that is unset equals `null` and
nothing else, and is neither greater nor smaller than anything.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from serving.errors import InvalidArgument, shown

Value = str | int | datetime | None
Facts = Mapping[str, Value]
"""A file's fields by name."""
Filter = Callable[[Facts], bool]

_MAX_CHARS, _MAX_DEPTH = 4_000, 32
_TEXT, _NUMBER, _TIME = "text", "whole number", "time"
_FIELDS = {
    "file_id": _TEXT,
    "name": _TEXT,
    "file_name": _TEXT,
    "size_bytes": _NUMBER,
    "content_type": _TEXT,
    "created_at": _TIME,
    "expires_at": _TIME,
    "upload_status": _TEXT,
    "user_defined_id": _TEXT,
    "public_url": _TEXT,
    "public_url_expires_at": _TIME,
}
_OPERATORS: dict[str, Callable[[str | int | datetime, str | int | datetime], bool]] = {
    "=": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<number>-?[0-9]{1,18}(?![\w.]))|(?P<word>[A-Za-z_]\w*)"""
    r"""|(?P<sign>>=|<=|!=|[=<>()]))"""
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


def parse_filter(text: str) -> Filter:
    """A predicate over a file's facts. Raises `InvalidArgument` that says where the filter goes wrong."""
    if len(text) > _MAX_CHARS:
        raise _wrong(f"it has {len(text)} characters; at most {_MAX_CHARS} are read")
    parser = _Parser(_tokens(text))
    parsed = parser.filter(0)
    parser.end()
    return parsed


def _wrong(message: str) -> InvalidArgument:
    return InvalidArgument("filter", message, reason="FILTER_INVALID")


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise _wrong(f"cannot read {text[at:].strip()[:20]!r} at character {at + 1}")
        found.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup) + 1))
        at = match.end()
    return found


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0

    def filter(self, depth: int) -> Filter:
        parts = [self._all(depth)]
        while self._take("OR"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else lambda facts: any(part(facts) for part in parts)

    def end(self) -> None:
        if self._next < len(self._tokens):
            token = self._tokens[self._next]
            raise _wrong(f"expected AND, OR or the end instead of {shown(token.text)} at character {token.at}")

    def _all(self, depth: int) -> Filter:
        parts = [self._one(depth)]
        while self._take("AND"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else lambda facts: all(part(facts) for part in parts)

    def _one(self, depth: int) -> Filter:
        if depth > _MAX_DEPTH:
            raise _wrong(f"it is nested more than {_MAX_DEPTH} deep")
        if self._take("NOT"):
            inner = self._one(depth + 1)
            return lambda facts: not inner(facts)
        if self._take("("):
            inner = self.filter(depth + 1)
            if not self._take(")"):
                raise _wrong("a parenthesis is not closed")
            return inner
        return self._comparison()

    def _comparison(self) -> Filter:
        field = self._pop("a field")
        if field.kind != "word" or field.text not in _FIELDS:
            raise _wrong(f"no field {shown(field.text)} at character {field.at}: the fields are {', '.join(_FIELDS)}")
        sign = self._pop("an operator")
        if sign.text not in _OPERATORS:
            raise _wrong(f"no operator {shown(sign.text)} at character {sign.at}: they are {' '.join(_OPERATORS)}")
        return _compare(field, sign, _value(field, self._pop("a value")))

    def _take(self, text: str) -> bool:
        """Step over the next token if it is this word or sign."""
        if self._next == len(self._tokens):
            return False
        token = self._tokens[self._next]
        if token.kind in ("text", "number") or token.text.upper() != text:
            return False
        self._next += 1
        return True

    def _pop(self, wanted: str) -> _Token:
        if self._next == len(self._tokens):
            raise _wrong(f"it ends where {wanted} was expected")
        self._next += 1
        return self._tokens[self._next - 1]


def _value(field: _Token, token: _Token) -> Value:
    if token.kind == "word" and token.text.lower() == "null":
        return None
    kind = _FIELDS[field.text]
    if kind == _NUMBER and token.kind == "number":
        return int(token.text)
    if kind == _TEXT and token.kind == "text":
        return re.sub(r"\\(.)", r"\1", token.text[1:-1])
    if kind == _TIME and token.kind == "text":
        return _time(token)
    raise _wrong(f"{field.text} is compared with a {kind} or null, not with {shown(token.text)} (character {token.at})")


def _time(token: _Token) -> datetime:
    try:
        moment = datetime.fromisoformat(token.text[1:-1])
    except ValueError as error:
        raise _wrong(f'{token.text} is no time: write it as "2026-03-15T00:00:00Z" (character {token.at})') from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _compare(field: _Token, sign: _Token, wanted: Value) -> Filter:
    name = field.text
    if wanted is None:
        if sign.text not in ("=", "!="):
            raise _wrong(f"null is compared by = or != only, not by {sign.text} (character {sign.at})")
        return lambda facts: (facts[name] is None) == (sign.text == "=")
    compare, absent = _OPERATORS[sign.text], sign.text == "!="

    def holds(facts: Facts) -> bool:
        value = facts[name]
        return absent if value is None else compare(value, wanted)

    return holds
