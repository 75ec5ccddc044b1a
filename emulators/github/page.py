"""A page of a listing, with the links to the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from emulators.route import Call, Reply, json_reply

if TYPE_CHECKING:
    from emulators.github.hub import GitHub

PER_PAGE: Final = 30
MAX_PER_PAGE: Final = 100


def page(hub: GitHub, call: Call, name: str, items: Sequence[Mapping[str, Any]]) -> Reply:
    """The page that a call asks for; without a name it is a plain list."""
    size = min(max(_number(call.query, "per_page", PER_PAGE), 1), MAX_PER_PAGE)
    number = max(_number(call.query, "page", 1), 1)
    last = max((len(items) + size - 1) // size, 1)
    others = {"prev": number - 1, "next": number + 1, "last": last, "first": 1}
    wanted = {relation: each for relation, each in others.items() if each != number and 1 <= each <= last}
    shown = list(items[(number - 1) * size : number * size])
    links = [
        f'<{hub.url}{call.path}?{urlencode({**call.query, "page": each})}>; rel="{relation}"'
        for relation, each in wanted.items()
    ]
    headers = {"Link": ", ".join(links)} if links else None
    return json_reply(200, {"total_count": len(items), name: shown} if name else shown, headers)


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    return int(text) if text.isdecimal() else default
