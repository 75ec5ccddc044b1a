"""Answers `emulators/systemctl`, the stand-in for systemd's client, for a service manager."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from emulators.systemd.unit_file import UnplayedError, load

CLIENT: Final = Path(__file__).with_name("systemctl")
MOST_WAIT_SECONDS: Final = 600
_OPTIONS: Final = {"--no-block", "--no-reload", "--quiet", "-q", "--force", "--property=Job", "--value"}


class Manager(Protocol):
    """What is asked of the service manager."""

    units: Path
    faults: list[str]

    @property
    def system_state(self) -> str:
        """What is-system-running prints."""
        ...

    def start(self, *names: str) -> bool:
        """Begin to start."""
        ...

    def stop(self, *names: str) -> None:
        """Begin to stop."""
        ...

    def enable(self, name: str) -> None:
        """Let its targets want it."""
        ...

    def state(self, name: str) -> str:
        """Its active state."""
        ...

    def has_job(self, name: str) -> bool:
        """Whether it is being stopped because somebody asked."""
        ...

    def is_down(self, name: str) -> bool:
        """Whether nothing of it runs."""
        ...

    def power_off(self) -> None:
        """In order."""
        ...

    def cut_power(self) -> None:
        """At once."""
        ...

    def wait_until(self, true: Callable[[], bool], seconds: float = 20) -> bool:
        """Wait."""
        ...


class SystemctlServer:
    """One connection a call: the arguments on a line; back come the exit status on a line, and the text."""

    def __init__(self, manager: Manager) -> None:
        self.calls: list[str] = []
        self._manager = manager
        self._verbs: dict[str, Callable[[list[str], set[str]], tuple[int, str]]] = {
            "start": self._start,
            "stop": self._stop,
            "enable": self._enable,
            "daemon-reload": self._reload,
            "is-active": self._is_active,
            "is-failed": self._is_failed,
            "is-system-running": self._is_system_running,
            "poweroff": self._power_off,
            "show": self._show,
        }

    def start(self) -> int:
        """Begin to serve; returns the port on loopback."""
        server = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                status, text = server.obey(self.rfile.readline().decode().split())
                with contextlib.suppress(OSError):
                    self.wfile.write(f"{status}\n{text}\n".encode() if text else f"{status}\n".encode())

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self._server.server_address[1]

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def obey(self, words: list[str]) -> tuple[int, str]:
        """Exit status and text for one call."""
        self.calls.append(" ".join(words))
        options = {word for word in words if word.startswith("-")}
        verb, *names = [*(word for word in words if word not in options), ""]
        if not options <= _OPTIONS or verb not in self._verbs:
            self._manager.faults.append(f"systemctl {' '.join(words)} is not played")
            return 1, self._manager.faults[-1]
        try:
            return self._verbs[verb](names[:-1], options)
        except UnplayedError as error:
            self._manager.faults.append(str(error))
            return 1, str(error)

    def _start(self, names: list[str], options: set[str]) -> tuple[int, str]:
        manager = self._manager
        if not manager.start(*names):
            return 1, "the system goes down, nothing starts any more"
        if "--no-block" in options:
            return 0, ""
        manager.wait_until(lambda: all(manager.state(name) != "activating" for name in names), MOST_WAIT_SECONDS)
        return int("failed" in map(manager.state, names)), ""

    def _stop(self, names: list[str], options: set[str]) -> tuple[int, str]:
        manager = self._manager
        manager.stop(*names)
        if "--no-block" not in options:
            manager.wait_until(lambda: all(map(manager.is_down, names)), MOST_WAIT_SECONDS)
        return 0, ""

    def _enable(self, names: list[str], _options: set[str]) -> tuple[int, str]:
        for name in names:
            self._manager.enable(name)
        return 0, ""

    def _reload(self, _names: list[str], _options: set[str]) -> tuple[int, str]:
        for path in self._manager.units.glob("*.*"):
            if path.is_file():
                load(self._manager.units, path.name)
        return 0, ""

    def _is_active(self, names: list[str], _options: set[str]) -> tuple[int, str]:
        states = [self._manager.state(name) for name in names]
        return (0 if "active" in states else 3), "\n".join(states)

    def _is_failed(self, names: list[str], options: set[str]) -> tuple[int, str]:
        states = [self._manager.state(name) for name in names]
        return (0 if "failed" in states else 1), "" if "--quiet" in options else "\n".join(states)

    def _is_system_running(self, _names: list[str], _options: set[str]) -> tuple[int, str]:
        state = self._manager.system_state
        return int(state != "running"), state

    def _show(self, names: list[str], _options: set[str]) -> tuple[int, str]:
        return 0, "1" if self._manager.has_job(names[0]) else ""

    def _power_off(self, _names: list[str], options: set[str]) -> tuple[int, str]:
        if "--force" in options:
            self._manager.cut_power()
        else:
            self._manager.power_off()
        return 0, ""
