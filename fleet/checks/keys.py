"""Keys that become part of a name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from fleet.errors import Fault, Path, show
from fleet.naming import COMPUTE_LIMIT

_KEY: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def key_fault(at: Path, key: str) -> Iterator[Fault]:
    """The fault of a key that Compute Engine would not take in a name, with one that it would."""
    if not _KEY.fullmatch(key) or len(key) > COMPUTE_LIMIT:
        allowed = f"lower-case letters, digits and dashes, a letter first, at most {COMPUTE_LIMIT}"
        fitting = re.sub(r"[^a-z0-9-]+", "-", key.lower())[:COMPUTE_LIMIT].lstrip("-0123456789").rstrip("-")
        yield Fault(at, show(key), allowed, f"write {fitting or 'a name'}")
