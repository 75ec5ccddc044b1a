"""What an adoption is written as: configuration for people to paste, and a file for `pulumi import --file`.

The import file names resources as the program registers them, so that the engine finds them there: the pool's component
first, which exists nowhere and is made empty, then its groups. Templates are not imported: a version of ours makes its
own, and the old ones can go when nothing uses them. Nor are autoscalers: gcloud named them, ours have their group's
name, and a group takes one at a time, so the old one has to go before ours can come. The file's form is the page of
`pulumi import` in Pulumi's documentation (read 2026-11-25); `component` came with pulumi/pulumi#14467 (2023).
"""

from __future__ import annotations

from io import StringIO
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from rollout.adopt.judge import Adoption

POOL: Final = "runner-fleet:index:RunnerPool"
GROUP: Final = "gcp:compute/regionInstanceGroupManager:RegionInstanceGroupManager"
PROVIDER: Final = "google"
PROJECT: Final = "runner-fleet"


def provider_urn(stack: str) -> str:
    """The program's own Google provider; it has to be in the state before anything can be imported with it."""
    return f"urn:pulumi:{stack}::{PROJECT}::pulumi:providers:gcp::{PROVIDER}"


def import_file(adoption: Adoption, stack: str) -> dict[str, Any]:
    """The content of the file."""
    resources: list[dict[str, Any]] = [
        {"type": POOL, "name": pool, "component": True} for pool in sorted(adoption.pools)
    ]
    resources += [
        {
            "type": GROUP,
            "name": f"{each.pool}-{each.group.region}-group",
            "id": f"projects/{each.group.project}/regions/{each.group.region}/instanceGroupManagers/{each.group.name}",
            "parent": each.pool,
            "provider": PROVIDER,
        }
        for each in adoption.groups
    ]
    return {"nameTable": {PROVIDER: provider_urn(stack)}, "resources": resources}


def configuration(adoption: Adoption) -> str:
    """The sections as they stand in YAML: `pools` for the stack's file, machine classes for the project's."""
    text = StringIO()
    yaml: Any = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 120
    document: dict[str, Any] = {"runner-fleet:pools": _blocks(adoption.pools)}
    if adoption.machine_classes:
        document = {"runner-fleet:machine_classes": {"value": _blocks(adoption.machine_classes)}, **document}
    yaml.dump({"config": document}, text)
    return text.getvalue().replace("{", "{ ").replace("}", " }")


def _blocks(value: Any) -> Any:
    """Mappings as the stacks' files have them: those that hold another one as a block, the others in one line."""
    if not isinstance(value, dict):
        return value
    made: Any = CommentedMap({key: _blocks(inner) for key, inner in value.items()})  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - plain data
    if not any(isinstance(inner, dict) for inner in made.values()):
        made.fa.set_flow_style()
    return made
