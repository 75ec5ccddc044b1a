"""A region's quotas: how much there may be, and how much there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from rollout.cloud.document import MalformedError
from rollout.cloud.service import Answer, Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """One quota; for machines it counts CPUs, GPUs or GB. Google's figures are fractions, and whole."""

    limit: int
    usage: int
    """By all of the project, not only by us."""


class Quotas:
    """The regional quotas of a project."""

    def __init__(self, compute: Service, root: str) -> None:
        self._compute = compute
        self._root = root

    async def of(self, region: str) -> Mapping[str, Quota]:
        """The quotas of a region by Google's names, such as CPUS or NVIDIA_T4_GPUS. Raises CloudError."""
        path = f"{self._root}/regions/{quote(region, safe='')}"
        return await self._compute.read(path, f"the quotas of {region}", _quotas)


def _quotas(answer: Answer) -> Mapping[str, Quota]:
    value = answer.document()
    if value.has("quotaStatusWarning"):  # then the list is empty, which would mean no quota at all
        raise MalformedError("quotaStatusWarning")
    return {
        each.text("metric"): Quota(limit=each.whole("limit"), usage=each.whole("usage", 0))
        for each in value.list("quotas", required=True)
    }
