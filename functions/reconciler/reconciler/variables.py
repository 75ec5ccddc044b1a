"""Environment variables, each read with the form it must have; and the fleet's table, whose place one of them may name.

All functions hold this file byte by byte: shared by contract, not by import.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .fleet_table import Fleet, TableError, parse

_URL: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9._~/-]*)?")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,18}")
_APP: Final = re.compile(r"[1-9][0-9]{0,18}|Iv[A-Za-z0-9.]{1,40}")
_SECRET: Final = re.compile(r"projects/[a-z0-9.:-]+/secrets/[A-Za-z0-9_-]{1,255}/versions/(?:latest|[1-9][0-9]*)")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")


class SettingsError(Exception):
    """The environment is not as it must be. The text names the variable, what was seen and what is allowed."""


@dataclass(frozen=True, slots=True)
class Variables:
    """An environment. Every method raises SettingsError."""

    environment: Mapping[str, str]

    def text(self, name: str, form: re.Pattern[str], allowed: str) -> str:
        """A variable that has a form; `allowed` says which, to people."""
        value = self.environment.get(name)
        if value is None:
            raise SettingsError(f"{name} is not set; allowed: {allowed}")
        if not form.fullmatch(value):
            raise SettingsError(f"{name} is {value!r}; allowed: {allowed}")
        return value

    def url(self, name: str, default: str | None = None) -> str:
        """A URL, without the slash at its end."""
        if default is not None and name not in self.environment:
            return default
        return self.text(name, _URL, "a URL without query").rstrip("/")

    def bucket(self, name: str) -> str:
        """A bucket's name."""
        return self.text(name, _BUCKET, "a bucket's name")

    def seconds(self, name: str) -> int:
        """A duration in seconds."""
        return int(self.text(name, _NUMBER, "seconds, a whole number above 0"))

    def app_id(self, name: str) -> str:
        """What a GitHub App is known by."""
        return self.text(name, _APP, "a GitHub App's number or client id")

    def installation_id(self, name: str) -> str:
        """The number of an App's installation."""
        return self.text(name, _NUMBER, "the number of the App's installation")

    def secret(self, name: str) -> str:
        """The full name of a secret's version."""
        return self.text(name, _SECRET, "projects/PROJECT/secrets/NAME/versions/VERSION")

    def fleet(self, name: str, beside: Path) -> Fleet:
        """The table, in the file that the variable names, or else in the folder `beside`."""
        table = Path(self.environment.get(name) or beside / "fleet.json")
        try:
            return parse(table.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{name}: {table} cannot be read ({type(error).__name__})") from None
        except TableError as error:
            raise SettingsError(f"{name}: {table}: {error}") from None
