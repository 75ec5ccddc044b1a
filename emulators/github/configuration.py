"""A runner's just-in-time configuration, the same whichever call registered it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from emulators.cloud import jit_config
from emulators.github.runner import Runner

if TYPE_CHECKING:
    from emulators.github.hub import GitHub


def configuration(hub: GitHub, runner: Runner) -> str:
    """What the runner is started with."""
    server = hub.server_url or hub.url
    settings = {
        "agentId": runner.id,
        "agentName": runner.name,
        "poolId": runner.group_id,
        "ephemeral": True,
        "serverUrl": server,
        "gitHubUrl": f"https://github.com/{hub.organization}",
        "workFolder": runner.work_folder,
    }
    data = {"clientId": runner.credential, "authorizationUrl": f"{server}/_runner/session"}
    key = base64.b64encode(f"key-of-{runner.credential}".encode()).decode()
    files = {
        "runner": json.dumps(settings),
        "credentials": json.dumps({"scheme": "OAuth", "data": data}),
        "credentials_rsaparams": json.dumps({"d": key}),
    }
    return jit_config(**files)
