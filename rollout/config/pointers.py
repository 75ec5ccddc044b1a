"""Which version a stack runs and which it tries: the edits of `rollout` in its file."""

from __future__ import annotations

from typing import Any, Final

from rollout.config.edit import Wanted, plain
from rollout.config.yaml_text import has, remove, set_value, written

SECTION: Final = ("config", "runner-fleet:rollout")


def file_of(stack: str) -> str:
    """The file that holds a stack's pointers."""
    return f"Pulumi.{stack}.yaml"


def point(*, stable: str, canary: str | None, pools: tuple[str, ...] = ()) -> Wanted:
    """Run `stable`, and try `canary` in those pools, in all of them where none is named. What is so already stays."""
    target: dict[str, Any] = {"stable": stable, "canary": canary}
    if pools:
        target["canary_pools"] = list(pools)

    def change(text: str) -> str:
        now = plain(text)["config"][SECTION[1]]
        for key, value in target.items():
            if now.get(key) != value or not has(text, (*SECTION, key)):
                text = set_value(text, (*SECTION, key), value)
        return text if pools else remove(text, (*SECTION, "canary_pools"))

    def meant(document: dict[str, Any]) -> None:
        rollout = document["config"][SECTION[1]]
        rollout.update(target)
        if not pools:
            rollout.pop("canary_pools", None)

    by_hand = f"set runner-fleet:rollout to {written(target)}, and leave its other keys"
    return Wanted(change=change, meant=meant, by_hand=by_hand)
