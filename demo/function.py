"""A function as the cloud runs it: its own command in a process of its own, and a front that VMs talk to.

The front is what the cloud has before a function: it has the URL, it answers 503 while there is no process behind it,
and it knows what was asked and answered. It changes nothing else.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 30
ANSWER_SECONDS: Final = 70
"""Longer than any function takes."""
OWN_HEADERS: Final = {"connection", "content-length", "date", "host", "server", "transfer-encoding"}


class FunctionError(Exception):
    """A function did not start; the text says why."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


class Front:
    """What stands before a function. A context manager; `url` is there before the function is."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        """How often each operation (`POST /jit`) got each status."""
        self.unavailable: float = 0
        """How many of the next requests find no process."""
        self.port: int | None = None
        """Where the function listens."""
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._server = _Server((HOST, 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """What VMs are told, and the audience of their tokens."""
        return f"http://{HOST}:{self._server.server_port}"

    def pass_on(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any, bytes]:
        """The function's answer: status, headers, body."""
        with self._lock:
            absent = self.unavailable > 0
            self.unavailable -= absent
        status, given, content = 503, [], b"The service is unavailable."
        if not absent and self.port is not None:
            connection = http.client.HTTPConnection(HOST, self.port, timeout=ANSWER_SECONDS)
            try:
                connection.request(method, path, body=body, headers=dict(headers))
                response = connection.getresponse()
                status, given, content = response.status, response.getheaders(), response.read()
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
        with self._lock:
            self.answers[f"{method} {path}", status] += 1
        return status, given, content

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        front = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in OWN_HEADERS}
                status, given, content = front.pass_on(self.command, self.path, headers, body)
                self.send_response_only(status)
                for name, value in given:
                    if name.lower() not in OWN_HEADERS:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # a client that was killed reads no answer
                    self.wfile.write(content)

            do_DELETE = do_GET = do_POST = _serve  # noqa: N815 - the base class's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's names
                """Nothing: `answers` tells."""

        return Handler


class Function:
    """The process, by the command that the cloud has too. A context manager: at its end nothing of it is left."""

    def __init__(self, main: Path, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with socket.create_server((HOST, 0)) as free:
            self.port: int = free.getsockname()[1]
        program = Path(sys.executable).with_name("functions-framework")
        if not program.exists():
            raise FunctionError(f"{program} is missing; scripts/venv dev installs what requirements-dev.txt lists")
        self._command = [program, "--source", main, "--target", "handle", "--host", HOST, "--port", str(self.port)]
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), **environment}

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a terminal's ^C is not for it
            )
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait_until_up(self) -> None:
        """Return when it takes connections. Raises FunctionError with its last words."""
        until = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection((HOST, self.port), timeout=1).close()
                return
            if self.process.poll() is not None or time.monotonic() > until:
                words = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                raise FunctionError(f"{self.log.stem} did not start: {words[-1] if words else 'it said nothing'}")
            time.sleep(0.02)
