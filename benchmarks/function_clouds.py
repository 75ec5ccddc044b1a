"""GitHub and Google Cloud for `functions.py`, in a process of their own: every answer takes ANSWER_SECONDS.

`python benchmarks/function_clouds.py FOLDER` writes the functions' table there. Its first line is a JSON object: the
environments of both functions. Then a line of JSON asks and a line of JSON answers:

    {"vms": N, "limited": BOOL}  forget everything but N new VMs; whether GitHub's rate limit holds; their tokens
    {"seen": true}               how often each route was asked since, and the points spent at GitHub

Groups have ten VMs at most, as the fleet's own have, for what a deletion asks of a group grows with it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web

sys.path.insert(0, str(Path(__file__).parent.parent))

from demo.show import SECRET, environments_of
from emulators.faults import Fault, Faults
from emulators.site import Site

ANSWER_SECONDS = 0.02
GROUPS = 64
GROUP_SIZE = 10
ACCOUNT = "gh-runner-minimal@iree-oss.iam.gserviceaccount.com"
ZONE = "us-west1-a"
AUDIENCES = {"broker": "https://broker.example", "deleter": "https://deleter.example"}
UNLIMITED = 10**9
LIMITS = 5000, 900
"""Requests an hour and points a minute, as the stand-in has them from GitHub's documentation."""


class TimelySite(Site):
    """Waits in one go, where tests want to see at once that a client is gone; looking costs more than answering."""

    async def _until(self, request: web.Request, at: float) -> None:  # noqa: ARG002 - the base class's
        await asyncio.sleep(max(0.0, at - self.clock.now()))


class Steady(Faults):
    """Nothing goes wrong, and everything takes its time."""

    def strike(self, route: str) -> Fault:  # noqa: ARG002 - it strikes all alike
        """The same for every request."""
        return Fault(kind="slow", seconds=ANSWER_SECONDS)


def table() -> dict[str, Any]:
    """The functions' table."""
    row = {
        "region": "us-west1",
        "pool": "presubmit-cpu",
        "zones": [ZONE],
        "service_account": ACCOUNT,
        "runner_group": "presubmit",
        "labels": ["self-hosted", "Linux", "X64", "runner-group=presubmit", "environment=prod", "cpu"],
        "signal": "cpu",
        "min": 1,
        "max": GROUP_SIZE,
        "rank": 0,
        "idle": 0,
        "scale_set": "",
        "standby": None,
    }
    groups = {f"gh-runner-bench-{number:02d}": row for number in range(GROUPS)}
    return {"environment": "prod", "project": "iree-oss", "organization": "iree-org", "groups": groups}


def furnish(site: Site) -> None:
    """What stands ready before the first VM."""
    site.google.put_secret(SECRET, site.github.app_key_pem)
    site.github.add_runner_group("presubmit")
    for name in table()["groups"]:
        limits = {"min": 1, "max": GROUP_SIZE}
        site.google.add_group(name, zones=(ZONE,), service_account=ACCOUNT, target_size=0, autoscaler=limits)


def renew(site: Site, vms: int, *, limited: bool) -> dict[str, list[str]]:
    """New VMs in place of all that was; their tokens for both functions."""
    assert vms <= GROUPS * GROUP_SIZE, "more VMs than fit into the groups"
    google, github = site.google, site.github
    with site.lock:
        site.requests.clear()
        google.objects.clear()
        google.compute.operations.clear()
        github.runners.clear()
        github.gone.clear()
        limit = github.rate_limit
        limit.per_hour, limit.points_per_minute = LIMITS if limited else (UNLIMITED, UNLIMITED)
        limit.used = 0
        limit.spent.clear()
        groups = list(google.groups.values())
        for group in groups:
            group.instances.clear()
            group.target_size = 0
        made = []
        for number in range(vms):
            group = groups[number % GROUPS]
            group.target_size += 1
            made.append(google.create_instance(group, age_seconds=20))
    return {name: [google.identity_token(vm, audience) for vm in made] for name, audience in AUDIENCES.items()}


def main() -> int:
    """Serve until stdin ends."""
    place = Path(sys.argv[1]) / "fleet.json"
    place.write_text(json.dumps(table()), encoding="utf-8")
    with TimelySite() as site:
        site.faults = Steady()
        furnish(site)
        print(json.dumps(environments_of(site, place, AUDIENCES)), flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            if "vms" in order:
                answer: Any = renew(site, order["vms"], limited=order["limited"])
            else:
                with site.lock:
                    routes = Counter(request.route for request in site.requests)
                    answer = {"routes": routes, "points": sum(points for _, points in site.github.rate_limit.spent)}
            print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
