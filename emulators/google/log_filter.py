"""Cloud Logging's query language, as far as somebody who looks for records needs it.

After https://docs.cloud.google.com/logging/docs/view/logging-query-language (November 2026): NOT binds closest, then
OR, then AND, which may be left out; a field that an entry does not have fits no comparison, also none of `!=`; `:` is
"has", regardless of case; the operators of order compare numbers, times and severities. Not played: functions, and
texts that stand alone.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

Test = Callable[[Mapping[str, Any]], bool]
SEVERITIES: Final = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")
_TOKEN: Final = re.compile(
    r"\s*(?:--[^\n]*\n?\s*)*(?:(?P<text>\"(?:[^\"\\]|\\.)*\")|(?P<op>!=|>=|<=|=~|!~|=|>|<|:)|(?P<mark>[()-])|(?P<word>[^\s()=<>!:~\"]+))"
)


class FilterError(ValueError):
    """The filter is none."""


def parse(text: str) -> Test:
    """What a filter says of an entry. Raises FilterError."""
    parser = _Parser(text)
    return parser.all() if parser.tokens else lambda _: True


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None or found.lastgroup is None:
                raise FilterError(f"unparseable at {at}")
            self.tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()
        self._next = 0

    def all(self) -> Test:
        """The whole."""
        test = self._and()
        if self._next < len(self.tokens):
            raise FilterError(f"unexpected {self.tokens[self._next][1]}")
        return test

    def _peek(self, *texts: str) -> bool:
        if self._next >= len(self.tokens):
            return False
        kind, text = self.tokens[self._next]
        return kind != "text" and text in texts

    def _take(self) -> tuple[str, str]:
        if self._next >= len(self.tokens):
            raise FilterError("it ends too early")
        self._next += 1
        return self.tokens[self._next - 1]

    def _and(self) -> Test:
        tests = [self._or()]
        while self._next < len(self.tokens) and not self._peek(")"):
            if self._peek("AND"):
                self._take()
            tests.append(self._or())
        return lambda entry: all(test(entry) for test in tests)

    def _or(self) -> Test:
        tests = [self._not()]
        while self._peek("OR"):
            self._take()
            tests.append(self._not())
        return lambda entry: any(test(entry) for test in tests)

    def _not(self) -> Test:
        if self._peek("NOT", "-"):
            self._take()
            test = self._not()
            return lambda entry: not test(entry)
        if self._peek("("):
            self._take()
            test = self._and()
            self._close()
            return test
        return self._comparison()

    def _close(self) -> None:
        if self._take()[1] != ")":
            raise FilterError("a bracket is not closed")

    def _comparison(self) -> Test:
        kind, field = self._take()
        op_kind, op = self._take()
        if kind != "word" or op_kind != "op":
            raise FilterError(f"{field} {op} is no comparison")
        values = [self._take()] if not self._peek("(") else self._values()
        wanted = [_unquoted(*value) for value in values]
        return lambda entry: any(_fits(_found(entry, field), op, value, field) for value in wanted)

    def _values(self) -> list[tuple[str, str]]:
        self._take()
        values = [self._take()]
        while self._peek("OR"):
            self._take()
            values.append(self._take())
        self._close()
        return values


def _unquoted(kind: str, text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if kind == "text" else text


def _found(entry: Mapping[str, Any], field: str) -> Any:
    value: Any = entry
    for part in field.split("."):
        if not isinstance(value, dict):
            return None
        value = cast("dict[str, Any]", value).get(part)
    return value


def _fits(value: Any, op: str, wanted: str, field: str) -> bool:
    if value is None:
        return False
    text = str(value).lower() if isinstance(value, bool) else str(value)
    match op:
        case "=":
            return text == wanted
        case "!=":
            return text != wanted
        case ":":
            return wanted == "*" or wanted.lower() in text.lower()
        case "=~":
            return re.search(wanted, text) is not None
        case "!~":
            return re.search(wanted, text) is None
        case _:
            left, right = _ordered(text, field), _ordered(wanted, field)
            return {">": left > right, ">=": left >= right, "<": left < right, "<=": left <= right}[op]


def _ordered(text: str, field: str) -> float:
    if field == "severity" and text in SEVERITIES:
        return SEVERITIES.index(text)
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise FilterError(f"{text} has no order") from None
