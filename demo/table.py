"""What the demo shows: a table of its VMs that moves on a terminal, a line for every change elsewhere, counters."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from demo.function import Front
from demo.vm import DemoVm
from emulators.site import Site

PLAIN_WIDTH: Final = 120
STYLES: Final = {"deleted": "green", "listening": "cyan", "running job": "bold cyan", "powered off": "red"}
SERVICES: Final = {
    "github": "GitHub",
    "metadata": "metadata",
    "compute": "Compute",
    "storage": "Storage",
    "secrets": "secrets",
    "certs": "keys",
}


class View:
    """Shows the VMs as they are whenever `show` is called. A context manager; what it showed last stays."""

    def __init__(self, site: Site, vms: Sequence[DemoVm], fronts: Mapping[str, Front], *, bucket: str) -> None:
        """`bucket` holds the grants."""
        self._site = site
        self._vms = vms
        self._fronts = fronts
        self._bucket = bucket
        self._shown: dict[str, str] = {}
        self._console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.update(self._all(), refresh=True)
            self._live.__exit__(kind, error, trace)
        elif kind is None:
            self._console.print(self._all())

    def show(self) -> None:
        """The VMs as they are now."""
        if self._live:
            self._live.update(self._all(), refresh=True)
            return
        for vm in self._vms:
            state = vm.state
            if self._shown.get(vm.instance.name) != state:
                self._shown[vm.instance.name] = state
                text = f"{vm.seconds:6.1f} s  {vm.instance.name}  {state}"
                self._console.print(text + (f"  ({vm.reason})" if state == "deleted" else ""), soft_wrap=True)
        sys.stdout.flush()

    def _all(self) -> RenderableType:
        lines = [Text(line) for line in counters(self._site, self._fronts, self._bucket)]
        return Group(self._table(), Text(), *lines)

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD if self._console.is_terminal else None, header_style="bold", pad_edge=False)
        for name in ("VM", "zone", "state"):
            table.add_column(name, no_wrap=True)
        table.add_column("s", justify="right")
        table.add_column("end", overflow="fold")
        for vm in self._vms:
            state = vm.state
            cells = vm.instance.name, vm.instance.zone, Text(state, style=STYLES.get(state, ""))
            table.add_row(*cells, f"{vm.seconds:.1f}", vm.reason)
        return table


def counters(site: Site, fronts: Mapping[str, Front], bucket: str) -> list[str]:
    """What there is, and who was asked what how often."""
    with site.lock:
        runners = list(site.github.runners.values())
        gone = len(site.github.gone)
        grants = sum(key[0] == bucket for key in site.google.objects)
        instances = [vm for group in site.google.groups.values() for vm in group.instances]
        requests = Counter(request.route for request in site.requests if request.route)
        unknown = sum(not request.route for request in site.requests)
    online, busy = sum(bool(runner.session) for runner in runners), sum(runner.busy for runner in runners)
    stopping = sum(vm.status == "STOPPING" for vm in instances)
    lines = [
        f"runners at GitHub: {len(runners)} ({online} online, {busy} busy), {gone} removed",
        f"grants: {grants}   instances: {len(instances)} ({stopping} stopping)",
    ]
    for name, front in fronts.items():
        told = sorted(front.answers.items())
        texts = [f"{operation} {status}: {times}" for (operation, status), times in told]
        lines.append(f"{name:<9} {', '.join(texts) or '-'}")
    for service, name in SERVICES.items():
        asked = sorted((route.partition(".")[2], times) for route, times in requests.items() if _of(route, service))
        if asked:
            lines.append(f"{name:<9} {', '.join(f'{route}: {times}' for route, times in asked)}")
    return [*lines, f"unknown   {unknown}"] if unknown else lines


def _of(route: str, service: str) -> bool:
    return route.partition(".")[0] == service
