"""An OpenAI-compatible endpoint on loopback that follows a script of answers and failures."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from interp_culture.resources import DATA
from interp_culture.scenarios.files import load_scenarios
from interp_culture.scenarios.teacher.candidates import Pool, read_pool
from interp_culture.scenarios.teacher.pipeline import TeacherConfig


def candidate(number: int) -> dict[str, str]:
    """A valid candidate whose situation shares one word with that of any other number."""
    stems = ("harbour", "violin", "lantern", "orchard", "ledger")
    words = " ".join(f"{stem}{number}" for stem in stems)
    return {
        "situation": f"Decide {words}.",
        "positive": f"She takes the boat{number} out.",
        "negative": f"She mends the boat{number} first.",
    }


Step = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Each request takes the next step of the server's script, and then five good candidates."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/chat/completions"
        self.server.asked.append(json.loads(body))
        self.server.keys.append(self.headers["Authorization"])
        self.server.times.append(time.monotonic())
        step = self.server.script.pop(0) if self.server.script else good()
        step(self)

    def answer(
        self, status: int, body: bytes, kind: str = "application/json", **headers: str
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *script: Step, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.script = list(script)
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.times: list[float] = []
        self.written = 0
        self.released = threading.Event()
        threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *args: Any) -> None:
        """Say nothing: tests include clients that leave in the middle of an answer."""

    def stop(self) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()


def say(text: str, usage: dict[str, int] | None = None) -> Step:
    """A completion with this text."""
    reply: dict[str, Any] = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
    reply["choices"] = [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    ]
    if usage is None:
        usage = {"prompt_tokens": 1000, "completion_tokens": 300, "total_tokens": 1300}
    if usage:
        reply["usage"] = usage
    return lambda h: h.answer(200, json.dumps(reply).encode())


def good(n: int = 5) -> Step:
    """n candidates that were in no earlier answer of this server."""

    def step(h: Handler) -> None:
        numbers = range(h.server.written, h.server.written + n)
        h.server.written += n
        say(json.dumps({"scenarios": [candidate(i) for i in numbers]}))(h)

    return step


def status(code: int, message: str = "no", **headers: str) -> Step:
    return lambda h: h.answer(code, json.dumps({"error": {"message": message}}).encode(), **headers)


def cut(h: Handler) -> None:
    """A connection that closes in the middle of an answer."""
    h.send_response(200)
    h.send_header("Content-Type", "application/json")
    h.send_header("Content-Length", "5000")
    h.end_headers()
    h.wfile.write(b'{"id": "1", "choi')
    h.wfile.flush()
    h.close_connection = True


def hang(h: Handler) -> None:
    h.server.released.wait(5)
    h.close_connection = True


def ignore(message: str) -> None:
    pass


def pool_of(config: TeacherConfig) -> Pool:
    return read_pool(config.pool_path, config.origin)


def read_manifest(config: TeacherConfig) -> dict[str, Any]:
    return json.loads(config.manifest_path.read_text())


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the client's growing pauses; a pause that the server asks for stays as it is."""
    import openai._base_client

    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr(openai._base_client, "MAX_RETRY_DELAY", 0.02)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def serve(quick_retries: None) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*script: Step, port: int = 0) -> Server:
        servers.append(Server(*script, port=port))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def config_for(tmp_path: Path, quick_retries: None) -> Callable[..., TeacherConfig]:
    """A small task: 6 candidates, 3 selected, 5 per request."""

    def make(endpoint: Server | str, **changes: Any) -> TeacherConfig:
        config = TeacherConfig(
            catalogue=load_scenarios(DATA / "culture").catalogue,
            axes=DATA / "culture" / "axes.yaml",
            item="Y01",
            domain="family",
            endpoint=endpoint if isinstance(endpoint, str) else endpoint.url,
            model="m",
            out=tmp_path / "new" / "set.jsonl",
            n=6,
            select=3,
            timeout=5.0,
            max_retries=2,
        )
        return replace(config, **changes)

    return make
