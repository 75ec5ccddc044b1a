"""A VM's network in namespaces of its own: the metadata server, the VM, a container on its bridge, and a neighbour.

    cloud (169.254.169.254, fd20:ce::254) -- vm -- container (172.17.0.2)
                                              \\-- neighbour (10.129.0.2)

All of it goes with the processes that hold the namespaces. Nothing outside of them is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

STARTUP = Path(__file__).parents[2] / "startup"
_PYTHON = str(Path(sys.executable).resolve())  # without what a virtual environment costs at every start

METADATA = "169.254.169.254"
METADATA6 = "fd20:ce::254"
CONTAINMENT = STARTUP / "lib/containment.nft"

# What a process sees of a request or of a datagram: one word on stdout.
_CLIENT = """
import socket, sys
kind, address, port, path, patience = sys.argv[1:]
request = f"GET {path} HTTP/1.1\\r\\nHost: x\\r\\nMetadata-Flavor: Google\\r\\nConnection: close\\r\\n\\r\\n"
family = socket.AF_INET6 if ":" in address else socket.AF_INET
try:
    with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as peer:
        peer.settimeout(float(patience))
        peer.connect((address, int(port)))
        peer.sendall((request if kind == "http" else "ping").encode())
        reply = peer.recv(65536)
        while kind == "http" and (more := peer.recv(65536)):
            reply += more
    head, _, body = reply.decode().partition("\\r\\n\\r\\n")
    print(head.split(" ")[1], body.strip()) if kind == "http" else print(head)
except (TimeoutError, PermissionError):
    print("dropped")
except OSError as error:
    print(type(error).__name__)
"""

# The real server as far as this matters: identity and token on port 80, an echo on others, over both families.
_SERVER = """
import http.server, socket, socketserver, sys, threading
class Metadata(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.endswith("/token"):
            body = b'{"access_token": "t", "expires_in": 1, "token_type": "Bearer"}'
        else:
            body = b"the real server"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
class Stream(socketserver.StreamRequestHandler):
    def handle(self): self.wfile.write(self.connection.recv(100))
class Datagram(socketserver.BaseRequestHandler):
    def handle(self): self.request[1].sendto(self.request[0], self.client_address)
socketserver.TCPServer.allow_reuse_address = True
def serve(server): threading.Thread(target=server.serve_forever, daemon=True).start()
def v6(kind): return type("V6", (kind,), {"address_family": socket.AF_INET6})
four, six = sys.argv[1:]
serve(http.server.ThreadingHTTPServer((four, 80), Metadata))
serve(v6(http.server.ThreadingHTTPServer)((six, 80), Metadata))
for port in (53, 443, 8080):
    serve(socketserver.ThreadingTCPServer((four, port), Stream))
for port in (53, 123):
    serve(socketserver.ThreadingUDPServer((four, port), Datagram))
serve(v6(socketserver.ThreadingUDPServer)((six, 53), Datagram))
print("ready", flush=True)
sys.stdin.read()
"""


def why_not() -> str | None:
    """Why namespaces and the ruleset cannot be tried here; None where they can."""
    for tool in ("nft", "unshare", "nsenter", "ip", "setpriv"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if os.geteuid() != 0:
        return "several uids in one namespace take root"
    rules = f"define job_user = 990\n{CONTAINMENT.read_text()}"
    loading = subprocess.run(
        ["unshare", "--net", "nft", "-f", "-"], input=rules, capture_output=True, text=True, check=False
    )
    if loading.returncode and ("Operation not" in loading.stderr or "unshare failed" in loading.stderr):
        return f"the kernel has no namespaces or no nftables for us: {loading.stderr.splitlines()[0]}"
    return None


class Network:
    """The four namespaces. Use it as a context manager."""

    def __enter__(self) -> Self:
        self._processes: list[subprocess.Popen[str]] = []
        self._namespaces = {name: self._hold() for name in ("cloud", "vm", "container", "neighbour")}
        self._wire("cloud", "10.128.0.1/30", "vm", "10.128.0.2/30")
        self._wire("container", "172.17.0.2/24", "vm", "172.17.0.1/24")
        self._wire("neighbour", "10.129.0.2/24", "vm", "10.129.0.1/24")
        self.run("cloud", f"ip address add {METADATA}/32 dev lo && ip address add {METADATA6}/128 dev lo nodad")
        self.run("cloud", "ip route add 172.17.0.0/24 via 10.128.0.2 && ip route add 10.129.0.0/24 via 10.128.0.2")
        self.run("cloud", "ip address add fd20:1::1/64 dev vm nodad")
        self.run("vm", "ip address add fd20:1::2/64 dev cloud nodad && ip route add fd20:ce::/64 via fd20:1::1")
        self.run("vm", f"ip route add {METADATA} via 10.128.0.1 && echo 1 >/proc/sys/net/ipv4/ip_forward")
        self.run(
            "vm", "ip address add fd20:2::1/64 dev container nodad && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"
        )
        self.run("cloud", "ip route add fd20:2::/64 via fd20:1::2")
        self.run("container", "ip route add default via 172.17.0.1")
        self.run("container", "ip address add fd20:2::2/64 dev vm nodad && ip route add default via fd20:2::1")
        self.run("neighbour", "ip route add default via 10.129.0.1")
        self.serve("cloud", ["-c", _SERVER, METADATA, METADATA6])
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.communicate()

    def run(self, namespace: str, script: str) -> str:
        """A shell script as root in a namespace; it must end well."""
        done = subprocess.run(
            [*self._enter(namespace), "sh", "-ec", script], capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def load(self, job_uid: int) -> None:
        """The rules, as bin/contain loads them."""
        rules = f"define job_user = {job_uid}\n{CONTAINMENT.read_text()}"
        command = [*self._enter("vm"), "nft", "-f", "-"]
        subprocess.run(command, input=rules, text=True, timeout=20, check=True)

    def serve(self, namespace: str, arguments: list[str], *, uid: int = 0, ready: str = "ready") -> None:
        """A Python server in a namespace, once it has said a line that begins with `ready`."""
        process = subprocess.Popen(
            [*self._enter(namespace, uid), sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().startswith(ready)

    def sees(
        self,
        namespace: str,
        kind: str,
        address: str,
        port: int,
        path: str = "",
        *,
        uid: int = 0,
        patience_seconds: float = 5,
    ) -> str:
        """What a process of a user sees of HTTP, TCP or UDP there."""
        client = [_PYTHON, "-ISc", _CLIENT, kind, address, str(port), path, str(patience_seconds)]
        command = [*self._enter(namespace, uid), *client]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _hold(self) -> int:
        """A process that holds a namespace; its id."""
        holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._processes.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        return holder.pid

    def _wire(self, first: str, first_address: str, second: str, second_address: str) -> None:
        """A cable: each end is named after whom it leads to."""
        peer = self._namespaces[second]
        self.run(first, f"ip link add {second} type veth peer name {first} netns {peer}")
        self.run(first, f"ip address add {first_address} dev {second} && ip link set {second} up")
        self.run(second, f"ip address add {second_address} dev {first} && ip link set {first} up")

    def _enter(self, namespace: str, uid: int = 0) -> list[str]:
        enter = ["nsenter", f"--net=/proc/{self._namespaces[namespace]}/ns/net"]
        return [*enter, "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else enter


def wait_until(seen: Callable[[], bool]) -> None:
    """Return once a condition holds, at the latest of 50 looks."""
    for _ in range(50):
        if seen():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")
