"""A failing endpoint: errors are retried or explained, and the key is kept secret."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from teacher_server import (
    Step,
    config_for,
    cut,
    good,
    hang,
    ignore,
    pool_of,
    quick_retries,
    say,
    serve,
    status,
)

from interp_culture.errors import InputError
from interp_culture.scenarios.teacher.client import EndpointError, check_url, is_loopback
from interp_culture.scenarios.teacher.pipeline import generate

FIXTURES = (config_for, quick_retries, serve)  # pytest looks for them in this module
SECRET = "sk-a-secret-of-mine-123"


@pytest.mark.parametrize(
    "reply",
    [
        say(""),
        lambda h: h.answer(200, b"<html>welcome</html>", kind="text/html"),
        lambda h: h.answer(200, b'{"error": {"message": "upstream"}}'),
        lambda h: h.answer(200, b'{"choices": ['),
        lambda h: h.answer(200, b'{"choices": [{"message": null}]}'),
    ],
)
def test_replies_without_an_answer_count_as_empty(serve: Any, config_for: Any, reply: Step) -> None:
    manifest = generate(config_for(serve(reply, good(6))), ignore)
    assert manifest["rejected"] == {"empty answer": 1}


FAILURES = {"500": status(500), "503": status(503), "429": status(429), "cut": cut, "hang": hang}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_passing_failures_are_retried(serve: Any, config_for: Any, failure: Step) -> None:
    server = serve(failure, good())
    config = config_for(server, n=5, timeout=0.3)
    assert generate(config, ignore)["answers"] == 1
    assert len(server.asked) == 2
    assert len(pool_of(config).candidates) == 5


def test_the_pause_of_retry_after_is_kept(serve: Any, config_for: Any) -> None:
    server = serve(status(429, Retry_After="1"), good())
    generate(config_for(server, n=5), ignore)
    assert server.times[1] - server.times[0] >= 1


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (status(429, "Quota is used up"), "Quota is used up"),
        (status(500, "Out of memory"), "Out of memory"),
        (cut, "is the server running"),
        (hang, r"longer than 0.3 s several times; raise --timeout"),
    ],
)
def test_lasting_failures_stop_with_their_reason(
    serve: Any, config_for: Any, failure: Step, message: str
) -> None:
    server = serve(*[failure] * 9)
    with pytest.raises(EndpointError, match=message):
        generate(config_for(server, timeout=0.3, max_retries=1), ignore)
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (401, "check the variable OPENAI_API_KEY"),
        (403, "OPENAI_API_KEY"),
        (404, r"--model 'm': 127\.0\.0\.1:\d+ knows"),
    ],
)
def test_refusals_that_the_user_can_fix(
    serve: Any, config_for: Any, code: int, message: str
) -> None:
    server = serve(status(code))
    with pytest.raises(InputError, match=message):
        generate(config_for(server), ignore)
    assert len(server.asked) == 1


def test_json_mode_is_left_out_after_a_refusal(serve: Any, config_for: Any) -> None:
    server = serve(status(400, "this field is unknown"), good(), good())
    manifest = generate(config_for(server), ignore)
    assert [("response_format" in asked, "seed" in asked) for asked in server.asked] == [
        (True, True),
        (False, True),
        (False, True),
    ]
    assert manifest["settings"]["refused_options"] == ["response_format"]


def test_an_option_named_in_the_refusal_is_left_out(serve: Any, config_for: Any) -> None:
    server = serve(
        status(400, "temperature: only 1 is supported"), status(422, "extra field: seed"), good(6)
    )
    manifest = generate(config_for(server), ignore)
    assert manifest["settings"]["refused_options"] == ["temperature", "seed"]
    assert "response_format" in server.asked[-1]


def test_a_request_that_stays_refused_ends_with_the_servers_message(
    serve: Any, config_for: Any
) -> None:
    server = serve(*[status(400, "The context is too long")] * 9)
    with pytest.raises(
        InputError, match=r"refuses the request for --model m: .*The context is too long"
    ):
        generate(config_for(server), ignore)
    assert len(server.asked) == 4


def test_the_key_is_sent_but_never_written(
    serve: Any, config_for: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {SECRET}\n")
    echo = status(400, f"Bearer {SECRET} may not ask for this")
    server = serve(good(), echo, echo, echo, echo)
    config = config_for(server)
    with pytest.raises(InputError, match=r"Bearer \*\*\* may not") as refused:
        generate(config, ignore)
    assert SECRET not in str(refused.value)
    generate(config, ignore)
    assert set(server.keys) == {f"Bearer {SECRET}"}
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(written) == 3
    assert all(SECRET.encode() not in p.read_bytes() for p in written)
    assert SECRET not in repr(config)


def test_a_remote_endpoint_needs_a_key(config_for: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = config_for("https://teacher.invalid/v1")
    with pytest.raises(
        InputError, match=r"OPENAI_API_KEY is not set, and teacher\.invalid is not this machine"
    ):
        generate(remote, ignore)
    assert not remote.out.parent.exists()
    for faulty in ("sk-one two", "sk-ключ"):
        monkeypatch.setenv("OPENAI_API_KEY", faulty)
        with pytest.raises(InputError, match="OPENAI_API_KEY: contains a space or a character"):
            generate(remote, ignore)


def test_loopback_needs_neither_key_nor_proxy(
    serve: Any, config_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = serve()
    generate(config_for(server, max_retries=0), ignore)
    assert set(server.keys) == {"Bearer none"}


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://127.8.0.1/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://localhost:1/v1", True),
        ("https://localhost.example.org/v1", False),
        ("http://127.0.0.1.example.org/v1", False),
        ("http://10.0.0.1/v1", False),
    ],
)
def test_loopback_is_distinguished_from_similar_names(url: str, local: bool) -> None:
    check_url(url)
    assert is_loopback(url) is local


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "ftp://host/v1",
        "http://",
        "http://[::1/v1",
        "http://host:99999/v1",
        "http://ho st/v1",
        "https://me:secret@host/v1",
        "https://host/v1?key=secret",
        "http://host/v1/chat/completions",
    ],
)
def test_bad_urls_are_refused_without_repeating_a_secret(url: str) -> None:
    with pytest.raises(InputError, match="--endpoint") as refused:
        check_url(url)
    assert "secret" not in str(refused.value)


def test_a_missing_client_package_is_named_with_the_command(
    config_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r"pip install 'interp-culture\[teacher\]'"):
        generate(config_for("http://127.0.0.1:9/v1"), ignore)
