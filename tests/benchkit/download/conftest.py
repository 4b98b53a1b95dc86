"""A server on loopback; connections to other machines fail the test."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from loopback import Site

from benchkit.download import fetch


@pytest.fixture
def site() -> Iterator[Site]:
    """A running server without answers."""
    with Site.serve() as running:
        yield running


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let connections and name look-ups reach this machine only."""
    connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo

    def connect_here(self: socket.socket, address: Any) -> None:
        assert address[0] == "127.0.0.1", address
        connect(self, address)

    def look_up_here(host: Any, *args: Any, **kwargs: Any) -> Any:
        assert host == "127.0.0.1", host
        return getaddrinfo(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(fetch, "WAIT", 0.001)
