"""The table that every function is deployed with: the exact list of groups it serves, and what is theirs.

A VM says who it is and nothing else. Its group, its trust level's account, its runner group and its labels come from
here, so there is no pattern that a name could match and no label that a VM could choose.
"""

from __future__ import annotations

import json
from typing import Any

from fleet.group import Group
from fleet.schema.pool import JobsScaling
from fleet.settings import Settings


def function_table(settings: Settings) -> str:
    """The table as JSON text, the same for the same settings."""
    table = {
        "project": settings.google.project,
        "environment": settings.environment,
        "organization": settings.github.organization,
        "groups": {group.name: _row(settings, key, group) for key in settings.pools for group in settings.groups(key)},
    }
    return json.dumps(table, indent=1, sort_keys=True) + "\n"


def _row(settings: Settings, key: str, group: Group) -> dict[str, Any]:
    pool = settings.pools[key]
    return {
        "region": group.region,
        "pool": key,
        "zones": list(group.zones),
        "service_account": settings.names.account_email(pool.trust),
        "runner_group": settings.trust_levels[pool.trust].runner_group,
        "labels": list(settings.addressable_labels(key)),
        "signal": pool.scaling.signal,
        "min": group.min,
        "max": group.max,
        "rank": group.rank,
        "idle": pool.scaling.idle if isinstance(pool.scaling, JobsScaling) else 0,
        "scale_set": settings.names.scale_set(key) if isinstance(pool.scaling, JobsScaling) else "",
        "standby": group.standby.vms if group.standby else None,
    }
