"""A plan's fingerprint: what a run's journal and the plan that is to resume it have to agree on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any, cast

from rollout.engine.spec import Plan
from rollout.engine.step_faults import qualified_name


def digest(plan: Plan) -> str:
    """SHA-256, in hex, over all that a plan says, the order of its steps too; code counts by its qualified name.

    For a plan without faults; another raises whatever its values make JSON raise.
    """
    text = json.dumps(_plain(plan), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """JSON values in which no two different plans look alike: objects of ours are lists that begin with their class."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value.value if isinstance(value, Enum) else value
    if value is ...:
        return ["..."]
    if isinstance(value, Mapping):
        return {key: _plain(below) for key, below in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return ["list", *(_plain(below) for below in cast("list[Any]", value))]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return [type(value).__name__, fields]
    return ["code", qualified_name(value)]
