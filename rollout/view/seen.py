"""What a source said, or why it said nothing: a failed query is never an empty list.

The original fleet's tool for stuck runners deleted every VM when its question to GitHub failed, since a failure and
"no runners" looked the same to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Known(Generic[T_co]):
    """It was asked, and answered wholly."""

    value: T_co


@dataclass(frozen=True, slots=True)
class Unknown:
    """It could not be asked, or its answer was not whole. Nothing follows from that."""

    why: str
    """One line for people, without anything that a service said."""
    error_class: str = ""
    """As `rollout.cloud.errors` has it; empty where the answer itself was no good."""


Seen = Known[T_co] | Unknown
