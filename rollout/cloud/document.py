"""A JSON object as a service sent it, read field by field: what has another form than documented is no answer."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, cast


class MalformedError(ValueError):
    """A field is not what the documentation says. The text names the field, never its value."""


class Document:
    """A JSON object. Raises MalformedError for what is none."""

    def __init__(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise MalformedError("not an object")
        self._fields = cast("dict[str, Any]", value)

    def text(self, key: str, default: str | None = None) -> str:
        """A text; without a default it has to be there."""
        value = self._fields.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise MalformedError(key)
        return value

    def name(self, key: str) -> str:
        """The last part of a link; empty where there is none."""
        return self.text(key, "").rpartition("/")[2]

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number, also as text, which is how Google writes 64 bits."""
        found = self.whole_or_none(key)
        if found is None:
            if default is None:
                raise MalformedError(key)
            return default
        return found

    def whole_or_none(self, key: str) -> int | None:
        """A whole number, or None where the field is absent or null."""
        value = self._fields.get(key)
        if value is None:
            return None
        if isinstance(value, str) and value.removeprefix("-").isdecimal():
            return int(value)
        if isinstance(value, float) and value.is_integer():  # how Google writes a quota
            return int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise MalformedError(key)
        return value

    def flag(self, key: str, *, default: bool | None = False) -> bool:
        """True or false; with the default None it has to be there."""
        value = self._fields.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, bool):
            raise MalformedError(key)
        return value

    def inner(self, key: str) -> Document:
        """An object; empty where there is none."""
        value = self._fields.get(key)
        return Document({} if value is None else value)

    def list(self, key: str, *, required: bool = False) -> list[Document]:
        """A list of objects; empty where there is none, unless it is required."""
        return [Document(entry) for entry in self._entries(key, required=required)]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty where there is none."""
        entries = self._entries(key, required=False)
        if not all(isinstance(entry, str) for entry in entries):
            raise MalformedError(key)
        return tuple(entries)

    def mapping(self, key: str) -> Mapping[str, Any]:
        """An object as a plain mapping; empty where there is none."""
        return dict(self.inner(key)._fields)

    def labels(self, key: str) -> Mapping[str, str]:
        """An object whose values are texts."""
        return {name: str(value) for name, value in self.inner(key)._fields.items()}

    def time(self, key: str) -> float:
        """An RFC 3339 time in seconds since 1970; it has to be there."""
        found = self.time_or_none(key)
        if found is None:
            raise MalformedError(key)
        return found

    def time_or_none(self, key: str) -> float | None:
        """The same, or None where it is absent or null."""
        text = self.text(key, "")
        if not text:
            return None
        try:
            # Cloud Logging writes nanoseconds, of which Python 3.11 keeps six digits.
            return datetime.datetime.fromisoformat(text).timestamp()
        except ValueError:
            raise MalformedError(key) from None

    def has(self, key: str) -> bool:
        """Whether there is such a field, and not null."""
        return self._fields.get(key) is not None

    def _entries(self, key: str, *, required: bool) -> list[Any]:
        value = self._fields.get(key)
        if value is None and not required:
            return []
        if not isinstance(value, list):
            raise MalformedError(key)
        return cast("list[Any]", value)
