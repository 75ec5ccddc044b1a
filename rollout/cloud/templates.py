"""Regional instance templates: what a version's VMs are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from rollout.cloud.document import Document
from rollout.cloud.pages import whole
from rollout.cloud.service import MISSING, Answer, Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template; it never changes."""

    name: str
    region: str
    created: float
    labels: Mapping[str, str]
    """Of its VMs."""
    metadata: Mapping[str, str] = field(repr=False)
    machine_type: str


class Templates:
    """The regional templates of a project."""

    def __init__(self, compute: Service, root: str) -> None:
        self._compute = compute
        self._root = root

    async def get(self, region: str, name: str) -> Template | None:
        """A template; None where there is none. Raises CloudError."""
        path = f"{self._path(region)}/{quote(name, safe='')}"
        return await self._compute.read(path, f"template {name} in {region}", _template_or_none, fine=MISSING)

    async def list(self, region: str) -> tuple[Template, ...]:
        """The templates of a region. Raises CloudError."""
        found = await whole(
            self._compute,
            self._path(region),
            f"the templates in {region}",
            lambda page: [_template(each) for each in page.list("items")],
        )
        return tuple(found or ())

    def _path(self, region: str) -> str:
        return f"{self._root}/regions/{quote(region, safe='')}/instanceTemplates"


def _template_or_none(answer: Answer) -> Template | None:
    return None if answer.status in MISSING else _template(answer.document())


def _template(value: Document) -> Template:
    properties = value.inner("properties")
    items = properties.inner("metadata").list("items")
    return Template(
        name=value.text("name"),
        region=value.name("region"),
        created=value.time("creationTimestamp"),
        labels=properties.labels("labels"),
        metadata={each.text("key"): each.text("value", "") for each in items},
        machine_type=properties.name("machineType"),
    )
