"""An HTTP server on loopback whose answers can be cut, wrong or refused."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """The answer to requests of one path.

    Attributes:
        body: the complete file.
        status: the status code.
        ranges: whether the server supports `Range`.
        if_range: whether it respects `If-Range`.
        kind: the content type.
        etag: the entity tag, or None.
        length: whether it sends `Content-Length`.
        cuts: after how many bytes it closes the connection, for each of the first answers.
        failures: status codes of the first answers.
        stall: send one half of the body, then nothing until the client disconnects.
        headers: more headers.
    """

    body: bytes
    status: int = 200
    ranges: bool = True
    if_range: bool = True
    kind: str = "application/octet-stream"
    etag: str | None = None
    length: bool = True
    cuts: list[int] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    stall: bool = False
    headers: dict[str, str] = field(default_factory=dict)


NOT_FOUND = Answer(b"<html>none</html>", 404, kind="text/html")


class Site:
    """A running server.

    Attributes:
        root: its address.
        answers: path -> answer.
        requests: the path and the `Range` header of every request so far.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str | None]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.root = f"http://127.0.0.1:{self._server.server_address[1]}"

    @classmethod
    @contextlib.contextmanager
    def serve(cls) -> Iterator[Site]:
        """Run a server in a thread."""
        site = cls()
        threading.Thread(target=site._server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield site
        finally:
            site._server.shutdown()
            site._server.server_close()

    def put(self, name: str, body: bytes, **options: Any) -> str:
        """Set the answer for a path; returns its URL."""
        self.answers[f"/{name}"] = Answer(body, **options)
        return f"{self.root}/{name}"

    def ranges(self) -> list[str | None]:
        """The `Range` headers of all requests."""
        return [header for _, header in self.requests]

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        range_header = request.headers.get("Range")
        self.requests.append((request.path, range_header))
        answer = self.answers.get(request.path, NOT_FOUND)
        status = answer.failures.pop(0) if answer.failures else answer.status
        body, start = answer.body, 0
        if status == 200 and range_header is not None and answer.ranges:
            condition = request.headers.get("If-Range")
            if condition is None or condition == answer.etag or not answer.if_range:
                start, status = int(range_header.removeprefix("bytes=").rstrip("-")), 206
        if start >= len(body) and status == 206:
            status, body = 416, b"<html>no such range</html>"
        request.send_response(status)
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            body = body[start:]
        request.send_header("Content-Type", "text/html" if status == 416 else answer.kind)
        if answer.length:
            request.send_header("Content-Length", str(len(body)))
        if answer.etag is not None:
            request.send_header("ETag", answer.etag)
        for key, value in answer.headers.items():
            request.send_header(key, value)
        request.end_headers()
        with contextlib.suppress(OSError):
            if answer.stall:
                request.wfile.write(body[: len(body) // 2])
                request.connection.recv(1)
            elif answer.cuts and status in (200, 206):
                request.wfile.write(body[: answer.cuts.pop(0)])
            else:
                request.wfile.write(body)
        request.close_connection = True
