"""A client of one OpenAI-compatible endpoint, with its errors explained in words."""

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
# The openai package refuses an empty key, also for servers that need none.
NO_KEY = "none"
# A shorter "key" is a placeholder, and may occur in any message by chance.
SHORTEST_KEY = 8
MAX_QUOTED = 300


class EndpointError(RuntimeError):
    """The endpoint failed, and not because of the user's input: the command may work later."""


@dataclass(frozen=True)
class Answer:
    """The text of a completion and its token counts, None if the endpoint does not report them."""

    text: str
    tokens_in: int | None
    tokens_out: int | None


@dataclass
class Endpoint:
    """A connection to an endpoint.

    Attributes:
        options: sent with each request, until the endpoint refuses one of them.
        refused: names of the options that the endpoint has refused.
    """

    client: Any
    model: str
    host: str
    options: dict[str, Any]
    refused: list[str] = field(default_factory=list)

    def ask(self, messages: list[dict[str, str]], seed: int) -> Answer:
        """One completion.

        The openai client itself retries after 429, 5xx, time-outs and lost connections.

        Raises:
            InputError: the request, the key or the model name is refused.
            EndpointError: the endpoint still fails after all retries.
        """
        import openai

        # This ends: each refusal takes one option away, and without any left it is raised.
        while True:
            try:
                with _explained(self):
                    reply = self.client.chat.completions.create(
                        model=self.model, messages=messages, **self._options(seed)
                    )
                    return _answer(reply)
            except json.JSONDecodeError:
                # The reply itself is not JSON; JSON in its text is parsed by `parse_answer`.
                return Answer("", None, None)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                self._drop_option(_quote(error, self.client.api_key))

    def _options(self, seed: int) -> dict[str, Any]:
        options = dict(self.options)
        if "seed" in options:
            options["seed"] = seed
        return options

    def _drop_option(self, complaint: str) -> None:
        """Stop sending the option that the complaint names, or else the first one left.

        The first one left is the option that the fewest endpoints support.
        """
        if not self.options:
            raise InputError(
                f"{self.host} refuses the request for --model {self.model}: {complaint}"
            )
        named = [option for option in self.options if option in complaint]
        name = named[0] if named else next(iter(self.options))
        del self.options[name]
        self.refused.append(name)


def connect(
    url: str, model: str, *, temperature: float, timeout: float, max_retries: int
) -> Endpoint:
    """A connection to an endpoint; nothing is sent yet.

    The key is read from the environment variable OPENAI_API_KEY and kept in memory only.

    Args:
        timeout: seconds to wait for an answer.

    Raises:
        InputError: the openai package or the key is missing.
    """
    try:
        import openai
    except ImportError:
        raise InputError(
            f"the package openai, which sends the requests, is missing: {INSTALL}"
        ) from None
    # A request to this machine must not go through a proxy from the environment.
    http_client = openai.DefaultHttpxClient(trust_env=False) if is_loopback(url) else None
    client = openai.OpenAI(
        api_key=_key(url),
        base_url=url,
        timeout=timeout,
        max_retries=max_retries,
        http_client=http_client,
    )
    # From the least to the most widely supported, the order in which they are given up.
    options = {"response_format": {"type": "json_object"}, "seed": 0, "temperature": temperature}
    return Endpoint(client, model, host_of(url), options)


def check_url(url: str) -> None:
    """Check that this is the base address of an endpoint, without secrets in it.

    Raises:
        InputError: it is not. The message does not repeat an address that may contain a secret,
            and neither do files, which name the endpoint by its host.
    """
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
            "--endpoint: the address contains a user name, a query or a fragment; "
            f"{example}, and put a key into {KEY}"
        )
    if parts.path.rstrip("/").endswith("/completions"):
        raise InputError(
            f"--endpoint {url!r}: leave out the end of the path (/chat/completions); {example}"
        )


def host_of(url: str) -> str:
    """Host and port, by which files name the endpoint.

    >>> host_of("http://127.0.0.1:8000/v1")
    '127.0.0.1:8000'
    """
    return urlsplit(url).netloc.rpartition("@")[2]


def is_loopback(url: str) -> bool:
    """Whether the address is on this machine.

    >>> is_loopback("http://localhost:8000/v1"), is_loopback("https://localhost.example.org/v1")
    (True, False)
    """
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _key(url: str) -> str:
    key = os.environ.get(KEY, "").strip()
    if not key and not is_loopback(url):
        raise InputError(
            f"{KEY} is not set, and {host_of(url)} is not this machine; "
            "export it (any text if no key is needed)"
        )
    # The key is sent in an HTTP header, which must be ASCII.
    if not key.isascii() or any(c.isspace() for c in key):
        raise InputError(f"{KEY}: contains a space or a character that no key has; export it again")
    return key or NO_KEY


def _answer(reply: Any) -> Answer:
    """The parts of a reply that are used.

    Some servers send an error, a web page or no usage with status 200. The text is then empty.
    """
    choices = getattr(reply, "choices", None) or [None]
    text = getattr(getattr(choices[0], "message", None), "content", None)
    usage = getattr(reply, "usage", None)
    return Answer(
        text=text if isinstance(text, str) else "",
        tokens_in=_count(usage, "prompt_tokens"),
        tokens_out=_count(usage, "completion_tokens"),
    )


def _count(usage: Any, name: str) -> int | None:
    count = getattr(usage, name, None)
    return count if isinstance(count, int) else None


@contextmanager
def _explained(endpoint: Endpoint) -> Iterator[None]:
    """Turn the client's exceptions into messages.

    They are raised `from None`: the original exception holds the request with its key.
    """
    import openai

    host = endpoint.host
    key = endpoint.client.api_key
    try:
        yield
    except (openai.BadRequestError, openai.UnprocessableEntityError):
        # `Endpoint.ask` tries again without an option.
        raise
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise InputError(
            f"{host} does not accept the key ({error.status_code}): check the variable {KEY}"
        ) from None
    except openai.NotFoundError:
        raise InputError(
            f"--model {endpoint.model!r}: {host} knows no such model, or --endpoint lacks a part "
            "of its path (most end in /v1)"
        ) from None
    # Before APIConnectionError, of which it is a subclass.
    except openai.APITimeoutError:
        raise EndpointError(
            f"{host} took longer than {endpoint.client.timeout:g} s several times; raise --timeout"
        ) from None
    except openai.APIConnectionError as error:
        reason = _quote(error.__cause__ or error, key)
        raise EndpointError(f"no answer from {host} ({reason}); is the server running?") from None
    except openai.APIError as error:
        raise EndpointError(f"{host} failed: {_quote(error, key)}") from None


def _quote(error: BaseException, key: str) -> str:
    """The server's message, shortened, and without the key, which some servers repeat."""
    text = str(error)
    if len(key) >= SHORTEST_KEY:
        text = text.replace(key, "***")
    return text[:MAX_QUOTED]
