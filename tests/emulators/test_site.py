"""The stand-ins' way onto loopback, and off it."""

from __future__ import annotations

import gc
import socket
import sys
import threading
from urllib.parse import urlsplit

from emulators.site import Site

CONNECTIONS = 30
ROUNDS = 10


def test_connections_that_come_while_it_closes_are_closed_too(monkeypatch):
    """One left open would be found by the garbage collector, in the middle of somebody else's test."""
    left = []
    monkeypatch.setattr(sys, "unraisablehook", lambda caught: left.append(str(caught.exc_value)))
    clients: list[socket.socket] = []

    def connect_at_once(address):
        for _ in range(CONNECTIONS):
            client = socket.socket()
            client.settimeout(0)
            client.connect_ex(address)
            clients.append(client)

    for _ in range(ROUNDS):
        with Site() as site:
            parts = urlsplit(site.github_url)
            comer = threading.Thread(target=connect_at_once, args=((parts.hostname, parts.port),))
            comer.start()
        comer.join()
    for client in clients:
        client.close()
    gc.collect()
    assert len(clients) == ROUNDS * CONNECTIONS
    assert not left
