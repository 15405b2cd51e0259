"""One OpenAI-compatible endpoint: asks for chat completions, counts tokens, says in words what went wrong."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from interp_culture.errors import InputError

KEY = "OPENAI_API_KEY"
INSTALL = "pip install 'interp-culture[teacher]'"
NO_KEY = "none"
SHORTEST_KEY = 8
MAX_QUOTED = 300


class EndpointError(RuntimeError):
    """The endpoint failed for a reason that is not the user's input: the same command may work later."""


@dataclass(frozen=True)
class Answer:
    """The text of a completion and its token counts, None where the endpoint does not report them."""

    text: str
    tokens_in: int | None
    tokens_out: int | None


@dataclass
class Endpoint:
    """A connection. `options` go with each request until the endpoint refuses them; `refused` keeps their names."""

    client: Any
    model: str
    host: str
    options: dict[str, Any]
    refused: list[str] = field(default_factory=list)

    def ask(self, messages: list[dict[str, str]], seed: int) -> Answer:
        """One completion. The client itself retries what may pass: 429, 5xx, time-outs, lost connections."""
        import openai

        while True:
            options = {
                name: seed if name == "seed" else value for name, value in self.options.items()
            }
            try:
                with _explained(self):
                    return _answer(
                        self.client.chat.completions.create(
                            model=self.model, messages=messages, **options
                        )
                    )
            except json.JSONDecodeError:  # of the reply itself, not of the text in it
                return Answer("", None, None)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                self._drop_option(_quote(error, self.client.api_key))

    def _drop_option(self, complaint: str) -> None:
        """Leave out from now on what the endpoint complains of, else the option that is supported least."""
        if not self.options:
            raise InputError(
                f"{self.host} refuses the request for --model {self.model}: {complaint}"
            )
        name = next(
            (option for option in self.options if option in complaint), next(iter(self.options))
        )
        del self.options[name]
        self.refused.append(name)


def connect(
    url: str, model: str, *, temperature: float, timeout: float, max_retries: int
) -> Endpoint:
    """Ready to be asked; nothing is sent yet. The key is read from the environment and kept in memory only."""
    try:
        import openai
    except ImportError:
        raise InputError(
            f"the package openai is missing, which sends the requests: {INSTALL}"
        ) from None
    # A request to this machine must not take the way through a proxy that the environment names.
    http_client = openai.DefaultHttpxClient(trust_env=False) if is_loopback(url) else None
    client = openai.OpenAI(
        api_key=_key(url),
        base_url=url,
        timeout=timeout,
        max_retries=max_retries,
        http_client=http_client,
    )
    options = {"response_format": {"type": "json_object"}, "seed": 0, "temperature": temperature}
    return Endpoint(client, model, host_of(url), options)


def check_url(url: str) -> None:
    """InputError unless this is the base of an endpoint, free of secrets (the host is written to files)."""
    example = "give the base of the endpoint, for example http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or any(c.isspace() for c in url):
        raise InputError(f"--endpoint {url!r}: not an http(s) address; {example}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            f"--endpoint: has a user name, a query or a fragment; {example}, and put a key into {KEY}"
        )
    if parts.path.rstrip("/").endswith("/completions"):
        raise InputError(
            f"--endpoint {url!r}: leave out the end of the path (/chat/completions); {example}"
        )


def host_of(url: str) -> str:
    """Host and port, which name the endpoint in files."""
    return urlsplit(url).netloc.rpartition("@")[2]


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _key(url: str) -> str:
    key = os.environ.get(KEY, "").strip()
    if not key and not is_loopback(url):
        raise InputError(
            f"{KEY} is not set, and {host_of(url)} is not this machine; export it (any text where no key is needed)"
        )
    if not key.isascii() or any(c.isspace() for c in key):
        raise InputError(f"{KEY}: holds a space or a character that no key has; export it again")
    return key or NO_KEY


def _answer(reply: Any) -> Answer:
    """Some servers answer an error, a page, or no usage with status 200: then the text is empty."""
    choices = getattr(reply, "choices", None) or [None]
    text = getattr(getattr(choices[0], "message", None), "content", None)
    usage = getattr(reply, "usage", None)
    tokens = [getattr(usage, f"{kind}_tokens", None) for kind in ("prompt", "completion")]
    return Answer(
        text if isinstance(text, str) else "", *(t if isinstance(t, int) else None for t in tokens)
    )


@contextmanager
def _explained(endpoint: Endpoint) -> Iterator[None]:
    """The client's exceptions in words. `from None`: their chain holds the request with its key."""
    import openai

    at, timeout = endpoint.host, endpoint.client.timeout
    try:
        yield
    except (openai.BadRequestError, openai.UnprocessableEntityError):
        raise
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise InputError(
            f"{at} does not accept the key ({error.status_code}): check the variable {KEY}"
        ) from None
    except openai.NotFoundError:
        raise InputError(
            f"--model {endpoint.model!r}: {at} knows no such model, or --endpoint lacks a part of its path "
            "(it mostly ends in /v1)"
        ) from None
    except openai.APITimeoutError:
        raise EndpointError(
            f"{at} took longer than {timeout:g} s several times; raise --timeout"
        ) from None
    except openai.APIConnectionError as error:
        reason = _quote(error.__cause__ or error, endpoint.client.api_key)
        raise EndpointError(f"no answer from {at} ({reason}); is the server running?") from None
    except openai.APIError as error:
        raise EndpointError(f"{at} failed: {_quote(error, endpoint.client.api_key)}") from None


def _quote(error: BaseException, key: str) -> str:
    """The server's words, shortened and without the key, which some servers repeat."""
    text = str(error)
    return (text.replace(key, "***") if len(key) >= SHORTEST_KEY else text)[:MAX_QUOTED]
