"""The example of the README runs as it stands."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import scaleset
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from scaleset_service import Service, job, message, play, reply

README = Path(scaleset.__file__).with_name("README.md")


def test_the_example_listens_until_it_is_told_to_stop(monkeypatch, capsys):
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for name, value in {"APP_ID": "12", "INSTALLATION_ID": "77", "APP_KEY": key.decode()}.items():
        monkeypatch.setenv(name, value)
    service = Service(token_seconds=1e9)
    started = job("JobStarted", runnerName="a-unique-name", runnerId=1)

    async def told_to_stop(request):
        os.kill(os.getpid(), signal.SIGTERM)
        return await service.well(request)

    service.script("poll", reply(200, message(1, started)), reply(200, body=b"{}"), told_to_stop)
    monkeypatch.setattr(scaleset, "HttpTransport", lambda: service)
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example, str(README), "exec"), names)
    play(names["main"]())
    printed = capsys.readouterr().out
    assert "1 runners are wanted\na-unique-name runs 5eed0000-0000-0000-0000-000000000001\n" in printed
    assert "message 0 cannot be parsed" in printed
    assert "linux-large: session closed" in printed
    assert service.closed


def test_every_name_that_is_offered_is_there():
    assert all(hasattr(scaleset, name) for name in scaleset.__all__)
