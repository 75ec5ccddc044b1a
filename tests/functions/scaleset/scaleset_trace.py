"""The written exchanges of trace.yaml: a server that plays them strictly, and a judge of another server's answers."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import re
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ruamel.yaml import YAML

DOCUMENT: Mapping[str, Any] = YAML(typ="safe", pure=True).load(Path(__file__).with_name("trace.yaml"))
AGENT: str = DOCUMENT["agent"]
ACCEPTING_TURNS = 4  # of the loop, from accepting a connection to its handler
UNNAMED = re.compile(r"<(time|id|uuid|text|activity|url)>")
NAMED = re.compile(r"<(text|token|jwt|id|uuid|url|path) (\w+)>")
"""A `path` is the URL's of that name, at the beginning of a target."""
FORMS = {
    "token": r"[A-Za-z0-9_.-]+",
    "jwt": r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*",
    "url": r"https?://[^\s]+",
    "activity": r"[0-9A-Za-z-]{8,}",
    "text": r".*",
}
Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One request and its answer, with placeholders."""

    say: str
    world: str = ""
    fault: str = ""
    agent: str = "0"
    request: Mapping[str, Any]
    response: Mapping[str, Any]

    def body(self, values: Values) -> bytes:
        return filled(self.request.get("text", ""), values).encode()

    def headers(self, values: Values) -> dict[str, str]:
        """What stands above the body, but what belongs to the connection."""
        named = {name: filled(value, values) for name, value in self.request["headers"].items()}
        return {**named, "User-Agent": AGENT.replace("%d", str(filled(self.agent, values)))}


def scenario(name: str) -> list[Step]:
    return [Step(**step) for step in DOCUMENT["scenarios"][name]]


def own_values(base: str) -> Values:
    """What a player of ours chooses. Its queue has a query, which a client must keep."""
    own = {"base": base, "service": f"{base}/rest", "messages": f"{base}/scalesets/message?tenant=1"}
    return {**DOCUMENT["values"], **own}


def target(template: str, values: Values) -> str:
    """The target of a request: below the path of a URL that the server gave, whose own query comes first."""
    head, _, query = template.partition("?")
    match = NAMED.match(head)
    if match is None or match[1] != "path":
        return filled(template, values)
    url = urlsplit(values[match[2]])
    queries = "&".join(filter(None, (url.query, filled(query, values))))
    return url.path + filled(head[match.end() :], values) + (f"?{queries}" if queries else "")


def filled(template: Any, values: Values) -> Any:
    """A template with its values; one that is nothing but a number's place becomes the number."""
    if isinstance(template, dict):
        return {key.removesuffix("?"): filled(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [filled(value, values) for value in template]
    if not isinstance(template, str):
        return template
    whole = NAMED.fullmatch(template) or UNNAMED.fullmatch(template)
    if whole and whole[1] == "id":
        return values[whole[whole.lastindex or 1]]

    text = NAMED.sub(lambda match: str(values[match[2]]), template.replace("<base>", str(values.get("base"))))
    return UNNAMED.sub(lambda match: str(values[match[1]]), text)


def answer(step: Step, values: Values) -> tuple[int, dict[str, str], bytes]:
    """What the player says."""
    body = b""
    headers = dict(filled(step.response.get("headers", {}), values))
    if "json" in step.response:
        value = filled(step.response["json"], values)
        if isinstance(value.get("body"), dict):
            value["body"] = json.dumps(value["body"]["json_in_text"])
        body = json.dumps(value).encode()
        headers["Content-Type"] = "application/json; charset=utf-8"
    if step.response.get("byte_order_mark"):
        body = b"\xef\xbb\xbf" + body
    return step.response["status"], headers, body


# Judging answers.


def judge(step: Step, status: int, headers: Mapping[str, str], body: bytes, values: Values) -> None:
    """Whether a server answered as written; what it chose is taken into the values. Asserts."""
    assert status == step.response["status"], f"{step.say}: HTTP {status}, {body[:500]!r}"
    got = {name.lower(): value for name, value in headers.items()}
    for name, form in step.response.get("headers", {}).items():
        assert name.lower() in got, f"{step.say}: no header {name}"
        compare(form, got[name.lower()], values, f"{step.say}: {name}")
    if "json" not in step.response:
        assert status != 202 or body == b"", step.say
        return
    assert got["content-type"].partition(";")[0] == "application/json", step.say
    compare(step.response["json"], json.loads(body.decode("utf-8-sig")), values, step.say)


def compare(template: Any, found: Any, values: Values, at: str) -> None:
    """Exactly the fields that are written, each of its form. Asserts."""
    if isinstance(template, dict) and set(template) == {"json_in_text"}:
        compare(template["json_in_text"], json.loads(found), values, f"{at} as JSON")
    elif isinstance(template, dict):
        assert isinstance(found, dict), f"{at} is {found!r}"
        known = {key.removesuffix("?") for key in template}
        needed = {key for key in template if not key.endswith("?")}
        assert needed <= set(found) <= known, f"{at}: {sorted(needed ^ set(found))}"
        for key, form in template.items():
            name = key.removesuffix("?")
            if name in found and not (key.endswith("?") and (found[name] is None or form == {})):
                compare(form, found[name], values, f"{at}.{name}")
    elif isinstance(template, list):
        assert isinstance(found, list), f"{at} is {found!r}"
        assert len(found) == len(template), f"{at}: {len(found)}"
        for number, (form, value) in enumerate(zip(template, found, strict=True)):
            compare(form, value, values, f"{at}[{number}]")
    elif isinstance(template, str) and (match := NAMED.fullmatch(template)):
        assert _has_form(match[1], found), f"{at} is {found!r}, not a {match[1]}"
        assert values.setdefault(match[2], found) == found, f"{at} is {found!r}, and was {values[match[2]]!r}"
    elif isinstance(template, str) and (match := UNNAMED.fullmatch(template)):
        assert _has_form(match[1], found), f"{at} is {found!r}, not a {match[1]}"
    else:
        assert found == template, f"{at} is {found!r}, not {template!r}"
        assert type(found) is type(template), f"{at} is {found!r}, not {template!r}"


def _has_form(kind: str, found: Any) -> bool:
    if kind == "id":
        return type(found) is int and found >= 0
    if not isinstance(found, str):
        return False
    try:
        if kind == "time":
            time = datetime.datetime.fromisoformat(found)
            return time.tzinfo is not None and time.year > 1
        if kind == "uuid":
            return str(uuid.UUID(found)) == found
    except ValueError:
        return False
    return re.fullmatch(FORMS[kind], found) is not None


# Playing.


@dataclass
class Player:
    """A server of one exchange. It takes exactly the written requests, in their order, byte by byte."""

    steps: Sequence[Step]
    url: str = ""
    values: Values = field(default_factory=dict)
    done: int = 0
    wrong: list[str] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Player]:
        connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task
            connections.add(task)
            try:
                while await self._exchange(reader, writer):
                    pass
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.values = own_values(self.url)
        try:
            yield self
        finally:
            # Before Python 3.12 a connection accepted in the turn of the server's end stays open.
            asyncio.get_running_loop().remove_reader(server.sockets[0].fileno())
            for _ in range(ACCEPTING_TURNS):
                await asyncio.sleep(0)
            server.close()
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
        except asyncio.IncompleteReadError:
            return False
        line, *lines = head.strip().split("\r\n")
        headers = dict(each.split(": ", 1) for each in lines)
        body = await reader.readexactly(int(headers.get("Content-Length", "0")))
        status, named, content = self._answer(line, headers, body)
        # 202 and 204 with a length, so that the connection stays.
        length = {} if status == 204 else {"Content-Length": str(len(content))}
        rows = "".join(f"{name}: {value}\r\n" for name, value in {**named, **length}.items())
        writer.write(f"HTTP/1.1 {status} -\r\n{rows}\r\n".encode() + content)
        await writer.drain()
        return True

    def _answer(self, line: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self.done == len(self.steps):
            self.wrong.append(f"one request too many: {line}")
            return 400, {}, b""
        step = self.steps[self.done]
        self.done += 1
        path = target(step.request["target"], self.values)
        wanted = (f"{step.request['method']} {path} HTTP/1.1", step.headers(self.values), step.body(self.values))
        headers = {name: value for name, value in headers.items() if name not in {"Host", "Content-Length"}}
        if "<jwt app_jwt>" in str(step.request["headers"]):
            # Signed by the client, who alone knows what; that it can be verified is judged elsewhere.
            wanted[1]["Authorization"] = headers.get("Authorization", "")
            if not re.fullmatch(f"Bearer {FORMS['jwt']}", wanted[1]["Authorization"]):
                self.wrong.append(f"{step.say}: no JWT")
        for name, got, expected in zip(("request line", "headers", "body"), (line, headers, body), wanted, strict=True):
            if got != expected:
                self.wrong.append(f"{step.say}: {name}\n  {got}\n  and not\n  {expected}")
        return answer(step, self.values)
