"""`python -m emulators` serves the stand-ins until it is interrupted. Its first line is a JSON object: where they are.

With `--fleet FILE`, the functions' own table of groups, the project has these groups, filled with VMs, and the
organization their runner groups. The App's key is the secret `github-app-key` either way.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from emulators.faults import PROFILES
from emulators.site import Site


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="emulators", description="GitHub and Google Cloud on loopback")
    parser.add_argument("--port", type=int, default=0, help="GitHub's; Google's is the next one (default: two free)")
    parser.add_argument("--seed", type=int, default=0, help="of ids and faults")
    parser.add_argument("--faults", nargs="*", default=[], choices=sorted(PROFILES), metavar="NAME",
                        help=", ".join(PROFILES))  # fmt: skip
    parser.add_argument("--fleet", type=Path, help="a table of groups, as the functions read it")
    given = parser.parse_args(arguments)
    table: dict[str, Any] = json.loads(given.fleet.read_text(encoding="utf-8")) if given.fleet else {"groups": {}}
    names = {name: table[name] for name in ("project", "organization") if name in table}
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before the loop's thread starts, which inherits it
    with Site(seed=given.seed, faults=given.faults, port=given.port, **names) as site:
        site.google.put_secret("github-app-key", site.github.app_key_pem)
        hosts = fill(site, table["groups"])
        ids = {"app_id": site.github.app_id, "installation_id": site.github.installation_id}
        sys.stdout.write(f"{json.dumps({**site.urls, **ids, 'metadata_hosts': hosts})}\n")
        sys.stdout.flush()
        signal.sigwait(ends)
    return 0


def fill(site: Site, groups: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Have these groups with their VMs; each VM's name and its metadata server."""
    site.google.autofill = True
    hosts: dict[str, str] = {}
    for name, row in groups.items():
        if row["runner_group"] not in site.github.groups:
            site.github.add_runner_group(row["runner_group"])
        limits = {"min": row["min"], "max": row.get("max", 1000)}  # older tables had no maximum
        group = site.google.add_group(
            name,
            region=row["region"],
            zones=row["zones"],
            service_account=row["service_account"],
            target_size=row["min"],
            autoscaler=None if row["signal"] in {"fixed", "jobs"} else limits,
        )
        hosts |= {vm.name: site.metadata_host_of(vm) for vm in group.instances}
    return hosts


if __name__ == "__main__":
    sys.exit(main())
