"""Dilemmas from a teacher model: a pool asked from an OpenAI-compatible endpoint, the most varied of it selected."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from tqdm.auto import tqdm

from interp_culture.artifacts import make_folder, replacing, write_json
from interp_culture.errors import InputError
from interp_culture.resources import DATA
from interp_culture.scenarios.diversity import random_spread, select_varied, spread
from interp_culture.scenarios.scenario import Catalogue, Scenario
from interp_culture.scenarios.teacher.candidates import (
    Candidate,
    Entry,
    Pool,
    Rules,
    Tally,
    judge,
    open_pool,
    parse_answer,
)
from interp_culture.scenarios.teacher.client import Endpoint, EndpointError, check_url, connect
from interp_culture.scenarios.teacher.prompt import PROMPT, teacher_messages


@dataclass(frozen=True)
class TeacherConfig:
    """What is to be written, by whom, and where to.

    axes: the `axes.yaml` of the catalogue; a copy is laid beside `out` where the set needs one to be loaded.
    n, select: candidates in the pool, and how many of them make the set.
    about: what the item means, in words for the teacher; the label alone may be too short.
    first: number in the id of the first scenario.
    max_malformed: answers without readable JSON before a request is given up.
    max_empty: requests in a row without a valid candidate before the run stops.
    price_in, price_out: price of a million tokens, in any currency.
    """

    catalogue: Catalogue
    axes: Path
    item: str
    domain: str
    endpoint: str
    model: str
    out: Path
    n: int = 40
    select: int = 20
    about: str = ""
    first: int = 1
    seed: int = 42
    per_request: int = 5
    temperature: float = 1.0
    timeout: float = 120.0
    max_retries: int = 5
    max_malformed: int = 3
    max_empty: int = 5
    price_in: float | None = None
    price_out: float | None = None
    rules: Rules = field(default_factory=Rules)

    @property
    def origin(self) -> dict[str, str]:
        """What all candidates of a pool share."""
        return {
            "catalogue": self.catalogue.name,
            "item": self.item,
            "domain": self.domain,
            "model": self.model,
        }

    @property
    def pool_path(self) -> Path:
        return self.out.with_suffix(".pool.jsonl")

    @property
    def manifest_path(self) -> Path:
        return self.out.with_suffix(".json")


def check_config(config: TeacherConfig) -> None:
    """InputError for the first field that cannot be used; nothing is sent or written."""
    c, items, prices = config, config.catalogue.items, (config.price_in, config.price_out)
    faults = {
        f"--item {c.item!r}: unknown; {c.axes} has {', '.join(items)}": c.item not in items,
        f"--domain {c.domain!r}: unknown; {c.axes} has {', '.join(c.catalogue.domains)}": (
            c.domain not in c.catalogue.domains
        ),
        f"--n {c.n}: give 1 or more": c.n < 1,
        f"--select {c.select}: give a number from 1 to --n {c.n}": not 1 <= c.select <= c.n,
        f"--first {c.first}: give 1 or more": c.first < 1,
        f"--per-request {c.per_request}: give 1 or more": c.per_request < 1,
        f"--timeout {c.timeout}: give seconds, more than 0": not c.timeout > 0,
        f"--max-retries {c.max_retries}: give 0 or more": c.max_retries < 0,
        f"--temperature {c.temperature}: give 0 or more": not c.temperature >= 0,
        "--model: give the name that the endpoint knows the model by": not c.model.strip(),
        "--price-in and --price-out: give both, 0 or more, or neither": (
            prices != (None, None)
            and not all(p is not None and 0 <= p < float("inf") for p in prices)
        ),
        f"--out {c.out}: end the name in .jsonl": c.out.suffix != ".jsonl",
    }
    for message, faulty in faults.items():
        if faulty:
            raise InputError(message)
    check_url(c.endpoint)
    _check_out(c)


def _check_out(c: TeacherConfig) -> None:
    """Neither a file that was edited by hand nor a stranger's is written over."""
    if c.out.exists() or c.manifest_path.exists():
        try:
            written = json.loads(c.manifest_path.read_bytes())["sha256"]
            kept = not c.out.exists() or _sha256(c.out) == written
        except (OSError, ValueError, KeyError, TypeError):
            kept = False
        if not kept:
            raise InputError(
                f"--out {c.out}: this file or its manifest {c.manifest_path.name} was edited since, or is not of this "
                "command; choose another name or move both away"
            )
    others = [
        f for f in c.out.parent.glob("*.jsonl") if f != c.out and not f.name.endswith(".pool.jsonl")
    ]
    if not _axes_fit(c) and ((c.out.parent / "axes.yaml").exists() or others):
        raise InputError(
            f"--out {c.out}: the axes.yaml in this folder (the shipped one where there is none) does not declare "
            f"{c.item} and {c.domain} as {c.axes} does; choose an empty folder, or the folder of that file"
        )


def build_messages(config: TeacherConfig, pool: Pool) -> list[dict[str, str]]:
    """The prompt of the pool's next request."""
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
    """The whole run: fill the pool, from where it stands, and write the selection; returns the manifest."""
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
        say(f"{pool.path}: its last line broke off ({torn} bytes) and was dropped")
    if pool.candidates:
        say(f"{pool.path}: {len(pool.candidates)} candidates are there already")
    fill_pool(config, pool, endpoint)
    return write_selection(config, pool, endpoint.refused)


def fill_pool(config: TeacherConfig, pool: Pool, endpoint: Endpoint) -> None:
    """Ask until the pool has n candidates, fewer requests the more it has already.

    Raises EndpointError when several requests in a row gave nothing valid.
    """
    empty = 0
    with tqdm(
        total=config.n, initial=min(config.n, len(pool.candidates)), desc="asking", unit="candidate"
    ) as bar:
        while len(pool.candidates) < config.n:
            gained = ask_once(config, pool, endpoint)
            bar.update(min(gained, config.n - bar.n))
            empty = 0 if gained else empty + 1
            if empty >= config.max_empty:
                raise EndpointError(
                    f"{empty} requests in a row gave no valid candidate ({describe_rejected(pool.total())}); "
                    "look at the prompt with --dry-run, or take another --model"
                )


def ask_once(config: TeacherConfig, pool: Pool, endpoint: Endpoint) -> int:
    """One request, asked again while its answer is not JSON; how many valid candidates it brought."""
    tally, before = Tally(), len(pool.candidates)
    new = {
        "endpoint": endpoint.host,
        "prompt": PROMPT,
        "request": pool.next_request,
        "time": _now(),
    }
    entry = Entry.model_validate(config.origin | new)
    try:
        for record in _ask_for_records(config, pool, endpoint, tally):
            verdict = judge(record, pool.situations, config.rules)
            if isinstance(verdict, Candidate):
                pool.append(entry.model_copy(update={"candidate": verdict}))
            else:
                tally.reject(verdict)
    finally:
        if tally.answers:
            pool.append(entry.model_copy(update={"tally": tally}))
    return len(pool.candidates) - before


def _ask_for_records(
    config: TeacherConfig, pool: Pool, endpoint: Endpoint, tally: Tally
) -> list[Any]:
    messages, seed = build_messages(config, pool), config.seed + pool.next_request
    for attempt in range(config.max_malformed):
        # Another seed each time: with the same one a faulty answer may come again word for word.
        answer = endpoint.ask(messages, seed + 1_000_000 * attempt)
        tally.add(answer.tokens_in, answer.tokens_out)
        if records := parse_answer(answer.text):
            return records
        tally.reject("malformed JSON" if answer.text.strip() else "empty answer")
    return []


def write_selection(
    config: TeacherConfig, pool: Pool, refused: Sequence[str] = ()
) -> dict[str, Any]:
    """Write the selected scenarios, then the manifest, which is returned.

    Ids follow the order of choice: the first k of the file are the most varied k.
    """
    chosen = select_varied(pool.situations, config.select)
    scenarios = [
        _scenario(config, pool.candidates[i], number)
        for number, i in enumerate(chosen, start=config.first)
    ]
    if not _axes_fit(config):
        with replacing(config.out.parent / "axes.yaml") as part:
            shutil.copyfile(config.axes, part)
    with replacing(config.out) as part:
        part.write_text("".join(f"{s.model_dump_json()}\n" for s in scenarios), encoding="utf-8")
    manifest = describe(config, pool, chosen, refused)
    write_json(config.manifest_path, manifest)
    return manifest


def describe(
    config: TeacherConfig, pool: Pool, chosen: Sequence[int], refused: Sequence[str]
) -> dict[str, Any]:
    """The manifest: where the set came from, what it cost, and what the selection gained over a random one."""
    tally, situations = pool.total(), pool.situations
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
        "sha256": _sha256(config.out),
        "versions": {p: version(p) for p in ("interp-culture", "openai", "scikit-learn", "numpy")},
        "python": platform.python_version(),
        "time": _now(),
    }


def describe_rejected(tally: Tally) -> str:
    """Reasons with their counts, the commonest first: `near-duplicate 4, bare negation 1`."""
    reasons = sorted(tally.rejected.items(), key=lambda reason: -reason[1])
    return ", ".join(f"{reason} {count}" for reason, count in reasons) or "nothing refused"


def cost(tally: Tally, price_in: float | None, price_out: float | None) -> float | None:
    """tokens / 1e6 x price, in and out; None without prices."""
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


def _axes_fit(c: TeacherConfig) -> bool:
    """Whether the axes.yaml that `out` will be read with (the shipped one by default) has item, axis and domain."""
    beside = c.out.parent / "axes.yaml"
    text = (beside if beside.exists() else DATA / "culture" / "axes.yaml").read_text(
        encoding="utf-8"
    )
    try:
        there = Catalogue.model_validate(yaml.safe_load(text))
    except (ValueError, yaml.YAMLError):
        return False
    mine, found = c.catalogue.items[c.item], there.items.get(c.item)
    same_item = found is not None and (found.axis, found.label) == (mine.axis, mine.label)
    return (
        same_item
        and there.axes.get(mine.axis) == c.catalogue.axes[mine.axis]
        and c.domain in there.domains
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
