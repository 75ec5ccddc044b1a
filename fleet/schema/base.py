"""What every model of the configuration shares: frozen, strict about types, unknown keys refused."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Model(BaseModel):
    """A part of the configuration. `"10"` is no number here, and `1.0` no whole one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _date(value: object) -> object:
    """A day as text, quoted or as the engine hands an unquoted one on, which differs between its two kinds of file."""
    if isinstance(value, str):
        day = value.removesuffix("T00:00:00Z").removesuffix(" 00:00:00 +0000 UTC")
        return datetime.date.fromisoformat(day)
    return value


Day = Annotated[datetime.date, BeforeValidator(_date)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="a SHA-256 in 64 lower-case hex digits")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", description="sha256: and 64 lower-case hex digits")]
