"""A run of a teacher model: fill a pool of candidates, and select the most varied as a set."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from tqdm.auto import tqdm

from interp_culture.artifacts.files import file_checksum, replacing, write_json
from interp_culture.artifacts.folders import make_folder
from interp_culture.scenarios.diversity import random_spread, select_varied, spread
from interp_culture.scenarios.scenario import Scenario
from interp_culture.scenarios.teacher.candidates import (
    Candidate,
    Entry,
    Pool,
    Tally,
    judge,
    open_pool,
    parse_answer,
)
from interp_culture.scenarios.teacher.client import Endpoint, EndpointError, connect
from interp_culture.scenarios.teacher.config import TeacherConfig, axes_fit, check_config
from interp_culture.scenarios.teacher.prompt import PROMPT, teacher_messages

# Added to the seed for a repeated request, far beyond the seeds of any other request.
SEED_STEP = 1_000_000
# They decide the set: its request, TF-IDF, and the arithmetic of the selection.
PACKAGES = ("interp-culture", "openai", "scikit-learn", "numpy")


def build_messages(config: TeacherConfig, pool: Pool) -> list[dict[str, str]]:
    """The messages of the pool's next request."""
    item = config.catalogue.items[config.item]
    return teacher_messages(
        item.label,
        config.catalogue.axes[item.axis],
        config.domain,
        about=config.about,
        count=config.per_request,
        max_length_difference=config.rules.max_length_difference,
        known=pool.situations,
        seed=config.seed + pool.next_request,
    )


def generate(config: TeacherConfig, say: Callable[[str], None]) -> dict[str, Any]:
    """A whole run: fill the pool, continuing one that exists, and write the selected set.

    Args:
        say: called with notes for the user.

    Returns:
        The manifest.

    Raises:
        InputError: a setting, the key, the pool or the model name cannot be used.
        EndpointError: the endpoint failed. The pool keeps all candidates so far.
    """
    check_config(config)
    endpoint = connect(
        config.endpoint,
        config.model,
        temperature=config.temperature,
        timeout=config.timeout,
        max_retries=config.max_retries,
    )
    make_folder(config.out.parent)
    pool, torn = open_pool(config.pool_path, config.origin)
    if torn:
        say(f"{pool.path}: its last line was incomplete ({torn} bytes) and was removed")
    if pool.candidates:
        say(f"{pool.path}: continuing with {len(pool.candidates)} candidates from earlier runs")
    fill_pool(config, pool, endpoint)
    return write_selection(config, pool, endpoint.refused)


def fill_pool(config: TeacherConfig, pool: Pool, endpoint: Endpoint) -> None:
    """Send requests until the pool has n candidates.

    Raises:
        EndpointError: `max_empty` requests in a row gave no valid candidate.
    """
    n_start = min(config.n, len(pool.candidates))
    n_empty = 0
    with tqdm(total=config.n, initial=n_start, desc="asking", unit="candidate") as bar:
        while len(pool.candidates) < config.n:
            gained = ask_once(config, pool, endpoint)
            # The last request may bring more candidates than the bar has room for.
            bar.update(min(gained, config.n - bar.n))
            n_empty = 0 if gained else n_empty + 1
            if n_empty >= config.max_empty:
                raise EndpointError(
                    f"{n_empty} requests in a row gave no valid candidate "
                    f"({describe_rejected(pool.total())}); "
                    "look at the prompt with --dry-run, or take another --model"
                )


def ask_once(config: TeacherConfig, pool: Pool, endpoint: Endpoint) -> int:
    """Send one request, repeated while its answer is not JSON; add valid candidates to the pool.

    Returns:
        The number of candidates added.
    """
    tally = Tally()
    n_before = len(pool.candidates)
    request = {
        "endpoint": endpoint.host,
        "prompt": PROMPT,
        "request": pool.next_request,
        "time": _now(),
    }
    entry = Entry.model_validate(config.origin | request)
    try:
        for record in _ask_for_records(config, pool, endpoint, tally):
            verdict = judge(record, pool.situations, config.rules)
            if isinstance(verdict, Candidate):
                pool.append(entry.model_copy(update={"candidate": verdict}))
            else:
                tally.reject(verdict)
    finally:
        # Answers that were paid for are counted, even if the run is interrupted here.
        if tally.answers:
            pool.append(entry.model_copy(update={"tally": tally}))
    return len(pool.candidates) - n_before


def _ask_for_records(
    config: TeacherConfig, pool: Pool, endpoint: Endpoint, tally: Tally
) -> list[Any]:
    messages = build_messages(config, pool)
    seed = config.seed + pool.next_request
    for attempt in range(config.max_malformed):
        # With the same seed, the endpoint might give the same malformed answer again.
        answer = endpoint.ask(messages, seed + SEED_STEP * attempt)
        tally.add(answer.tokens_in, answer.tokens_out)
        if records := parse_answer(answer.text):
            return records
        tally.reject("malformed JSON" if answer.text.strip() else "empty answer")
    return []


def write_selection(
    config: TeacherConfig, pool: Pool, refused: Sequence[str] = ()
) -> dict[str, Any]:
    """Write the selected scenarios and, last, the manifest.

    Ids follow the order of selection: the first k of the file are the most varied k.

    Args:
        refused: names of the options that the endpoint refused, for the manifest.

    Returns:
        The manifest.
    """
    chosen = select_varied(pool.situations, config.select)
    scenarios = [
        _scenario(config, pool.candidates[index], number)
        for number, index in enumerate(chosen, start=config.first)
    ]
    # Before the set, which could not be loaded without its axes.yaml.
    if not axes_fit(config):
        with replacing(config.out.parent / "axes.yaml") as part:
            shutil.copyfile(config.axes, part)
    with replacing(config.out) as part:
        part.write_text("".join(f"{s.model_dump_json()}\n" for s in scenarios), encoding="utf-8")
    # The manifest comes last: a set whose checksum it does not hold is not overwritten.
    manifest = describe(config, pool, chosen, refused)
    write_json(config.manifest_path, manifest)
    return manifest


def describe(
    config: TeacherConfig, pool: Pool, chosen: Sequence[int], refused: Sequence[str]
) -> dict[str, Any]:
    """The manifest: origin, settings, cost, and the spread of the selection and of random ones."""
    tally = pool.total()
    situations = pool.situations
    return {
        **config.origin,
        "axis": config.catalogue.items[config.item].axis,
        "endpoints": sorted({e.endpoint for e in pool.entries}),
        "prompts": sorted({e.prompt for e in pool.entries}),
        "prompt_now": PROMPT,
        "about": config.about,
        "settings": {
            "seed": config.seed,
            "per_request": config.per_request,
            "temperature": config.temperature,
            "refused_options": list(refused),
            **asdict(config.rules),
        },
        "candidates": len(pool.candidates),
        "selected": len(chosen),
        **tally.model_dump(),
        "cost": cost(tally, config.price_in, config.price_out),
        "prices_per_million": {"in": config.price_in, "out": config.price_out},
        "spread": {
            "selected": asdict(spread(situations, chosen)),
            "random": asdict(random_spread(situations, config.select, seed=config.seed)),
        },
        "sha256": file_checksum(config.out),
        "versions": {package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "time": _now(),
    }


def describe_rejected(tally: Tally) -> str:
    """Reasons with their counts, the most frequent first.

    >>> describe_rejected(Tally(rejected={"bare negation": 1, "near-duplicate": 4}))
    'near-duplicate 4, bare negation 1'
    """
    reasons = sorted(tally.rejected.items(), key=lambda reason: -reason[1])
    return ", ".join(f"{reason} {count}" for reason, count in reasons) or "nothing rejected"


def cost(tally: Tally, price_in: float | None, price_out: float | None) -> float | None:
    """(tokens sent * price_in + tokens received * price_out) / 1e6; None without prices."""
    if price_in is None or price_out is None:
        return None
    return (tally.tokens_in * price_in + tally.tokens_out * price_out) / 1e6


def _scenario(config: TeacherConfig, candidate: Candidate, number: int) -> Scenario:
    return Scenario(
        id=f"{config.item}-{config.domain}-{number:02d}",
        axis=config.catalogue.items[config.item].axis,
        item=config.item,
        domain=config.domain,
        **candidate.model_dump(),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
