"""GitHub and Google Cloud for `listener.py`, in a process of their own. Every answer says when it left.

`python benchmarks/listener_clouds.py FOLDER POOLS` writes the listener's table there. Its first line is a JSON object:
the listener's environment. Then a line of JSON asks and a line of JSON answers:

    {"burst": N, "seconds": S}  queue so many jobs, the same number for each pool, evenly over that time
    {"state": true}             open sessions, pools that have said their demand, VMs that are asked for

`X-Left-At` is the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import web

sys.path.insert(0, str(Path(__file__).parent.parent))

from emulators.door import Visit
from emulators.route import Reply
from emulators.site import Site

BUCKET = "bench-listener"
PROJECT = "iree-oss"
LOOK_SECONDS = 0.02
LEFT_AT = "X-Left-At"


class StampingSite(Site):
    """Looks at a poll again only when something changed: a hundred polls cost little while nothing happens."""

    async def _serve(self, name: str, request: web.Request) -> web.StreamResponse:
        response = await super()._serve(name, request)
        response.headers[LEFT_AT] = repr(time.monotonic())
        return response

    async def _answer(self, request: web.Request, visit: Visit) -> Reply:
        while True:
            changed = self.github.changed, self.google.compute.changed
            if (reply := visit.answer()) is not None:
                return reply
            while (self.github.changed, self.google.compute.changed) == changed and self.clock.now() < visit.until:
                await self._look(request, LOOK_SECONDS)


def names(pools: int) -> list[str]:
    """The pools' keys."""
    return [f"bench-{number:03d}" for number in range(pools)]


def group_name(pool: str) -> str:
    """The pool's one group."""
    return f"gh-{pool}-us-west1-ab12"


def table(pools: int) -> dict[str, Any]:
    """The listener's table."""
    rows = {
        group_name(pool): {
            "region": "us-west1",
            "pool": pool,
            "zones": ["us-west1-a", "us-west1-b", "us-west1-c"],
            "service_account": f"runner-minimal@{PROJECT}.iam.gserviceaccount.com",
            "runner_group": "presubmit",
            "labels": [f"gh-{pool}"],
            "signal": "jobs",
            "min": 0,
            "max": 50,
            "rank": 0,
            "idle": 0,
            "scale_set": f"gh-{pool}",
            "standby": None,
        }
        for pool in names(pools)
    }
    return {"environment": "prod", "project": PROJECT, "organization": "iree-org", "groups": rows}


def furnish(site: Site, pools: int) -> None:
    """What stands ready: groups without VMs, and a lease that somebody has passed on."""
    site.google.autofill = True
    site.google.compute.create_seconds = 3600.0
    site.google.put_secret("app-key", site.github.app_key_pem)
    site.github.add_runner_group("presubmit")
    for pool in names(pools):
        site.google.add_group(group_name(pool), zones=("us-west1-a", "us-west1-b", "us-west1-c"), target_size=0)
    released = {"holder": "nobody", "fence": 0, "state": "released", "renewed": "2026-11-25T00:00:00Z"}
    site.google.put_object(BUCKET, "lease.json", json.dumps(released).encode())


def environment(site: Site, place: Path, serve_seconds: int) -> dict[str, str]:
    """What the listener is told."""
    return {
        "GCE_METADATA_HOST": site.metadata_host,
        "LISTENER_APP_ID": str(site.github.app_id),
        "LISTENER_INSTALLATION_ID": str(site.github.installation_id),
        "LISTENER_APP_KEY_SECRET": f"projects/{PROJECT}/secrets/app-key/versions/latest",
        "LISTENER_BUCKET": BUCKET,
        "LISTENER_SERVE_SECONDS": str(serve_seconds),
        "LISTENER_FLEET_FILE": str(place),
        "LISTENER_GITHUB_URL": site.github_url,
        "LISTENER_COMPUTE_URL": site.compute_url,
        "LISTENER_STORAGE_URL": site.storage_url,
        "LISTENER_SECRETS_URL": site.secrets_url,
        "LISTENER_MONITORING_URL": site.monitoring_url,
    }


def state(site: Site) -> dict[str, int]:
    """How far the listener is."""
    with site.lock:
        return {
            "sessions": sum(each.session is not None for each in site.github.scale_sets.all),
            "demands": sum(name.startswith("demand/") for _, name in site.google.objects),
            "vms": sum(group.target_size for group in site.google.groups.values()),
        }


def queue(site: Site, pools: list[str], jobs: int, seconds: float) -> None:
    """One after the other, pool by pool and round again; in one moment where there is no time for it."""
    with site.lock if not seconds else contextlib.nullcontext():
        began = time.monotonic()
        for number in range(jobs):
            time.sleep(max(0.0, began + seconds * number / jobs - time.monotonic()))
            site.github.queue_job([f"gh-{pools[number % len(pools)]}"])


def main() -> int:
    """Serve until stdin ends."""
    place, pools = Path(sys.argv[1]) / "fleet.json", int(sys.argv[2])
    place.write_text(json.dumps(table(pools)), encoding="utf-8")
    with StampingSite() as site:
        furnish(site, pools)
        print(json.dumps(environment(site, place, serve_seconds=9000)), flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            if "burst" in order:
                queue(site, names(pools), order["burst"], order["seconds"])
            with site.lock:
                site.requests.clear()
            print(json.dumps(state(site)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
