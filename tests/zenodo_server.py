"""A server on loopback that answers as Zenodo does, and fails as networks do.

Tests are not importable from each other; load it with
`serve = runpy.run_path(str(Path(__file__).with_name("zenodo_server.py")))["serve"]`.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Zenodo:
    """What the server serves, how it misbehaves, and what it was asked for.

    Attributes:
        files: name → bytes.
        url: its address.
        break_after: close the connection after so many bytes of a file, once.
        wrong: send other bytes than those of the checksum.
        extra: bytes sent beyond the declared size.
        honours_range: whether it answers with a part of a file.
        declared: name → size that the record says instead of the true one.
        record: sent instead of the true description.
        asked: (file, Range header) of every request for a file.
    """

    files: dict[str, bytes]
    url: str = ""
    break_after: int | None = None
    wrong: bool = False
    extra: bytes = b""
    honours_range: bool = True
    declared: dict[str, int] = field(default_factory=dict)
    record: bytes | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def describe(self) -> bytes:
        """The record, in the form that zenodo.org gives it."""
        if self.record is not None:
            return self.record
        files = [
            {
                "key": name,
                "size": self.declared.get(name, len(content)),
                "checksum": "md5:" + hashlib.md5(content).hexdigest(),
                "links": {"self": f"{self.url}/api/records/16535437/files/{index}/content"},
            }
            for index, (name, content) in enumerate(self.files.items())
        ]
        return json.dumps({"id": 16535437, "files": files}).encode()


class Handler(BaseHTTPRequestHandler):
    """Answers for the `zenodo` that `serve` binds to it."""

    zenodo: Zenodo

    def do_GET(self) -> None:
        """The record or one of its files."""
        if self.path == "/api/records/16535437":
            self.answer(200, self.zenodo.describe())
        elif self.path.startswith("/api/records/16535437/files/"):
            self.send_file(list(self.zenodo.files)[int(self.path.split("/")[5])])
        else:
            self.answer(404, b"")

    def send_file(self, name: str) -> None:
        """A file or the rest of it, as asked for."""
        zenodo, wanted = self.zenodo, self.headers["Range"]
        zenodo.asked.append((name, wanted))
        content = zenodo.files[name]
        content = (bytes(len(content)) if zenodo.wrong else content) + zenodo.extra
        start = 0
        if wanted and zenodo.honours_range:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content) > 0:
            self.answer(416, b"")
        elif start:
            place = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[start:], {"Content-Range": place})
        else:
            self.answer(200, content)

    def answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Send an answer, or its beginning where the connection is to break."""
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.path.endswith("/content") and self.zenodo.break_after is not None:
            body, self.zenodo.break_after = body[: self.zenodo.break_after], None
            self.close_connection = True
        with suppress(ConnectionError):  # of a client that has enough
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Zenodo]:
    """Run the server while the block lasts."""
    zenodo = Zenodo(files)
    handler = type("BoundHandler", (Handler,), {"zenodo": zenodo})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    zenodo.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield zenodo
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
