"""The settings of one run of a teacher model, and the checks made before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from interp_culture.artifacts.files import file_checksum, read_json
from interp_culture.artifacts.folders import refuse_folder
from interp_culture.errors import InputError
from interp_culture.resources import DATA
from interp_culture.scenarios.catalogue import Catalogue
from interp_culture.scenarios.teacher.candidates import Rules
from interp_culture.scenarios.teacher.client import check_url
from interp_culture.yaml_files import read_yaml


@dataclass(frozen=True)
class TeacherConfig:
    """The item and domain of new scenarios, the teacher, and the files to write.

    Attributes:
        axes: the `axes.yaml` of the catalogue. It is copied to the folder of `out` if the set
            could not be loaded without it.
        out: the file of the set, `.jsonl`.
        n: candidates in the pool.
        select: candidates that are selected for the set.
        about: what the item means, in words for the teacher, if its label is too short.
        first: number in the id of the first scenario.
        per_request: candidates to ask for in one request.
        timeout: seconds to wait for an answer.
        max_malformed: answers without readable JSON before a request is given up.
        max_empty: requests in a row without a valid candidate before the run stops.
        price_in: price of a million tokens sent, in any currency.
        price_out: price of a million tokens received.
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
        """The fields that all entries of a pool have in common."""
        return {
            "catalogue": self.catalogue.name,
            "item": self.item,
            "domain": self.domain,
            "model": self.model,
        }

    @property
    def pool_path(self) -> Path:
        """The file of all candidates."""
        return self.out.with_suffix(".pool.jsonl")

    @property
    def manifest_path(self) -> Path:
        """The file that describes the set."""
        return self.out.with_suffix(".json")


def check_config(config: TeacherConfig) -> None:
    """Check every setting; nothing is sent or written.

    Raises:
        InputError: for the first setting that cannot be used, with its option and the fix.
    """
    c = config
    items = c.catalogue.items
    domains = c.catalogue.domains
    # Conditions are written so that NaN fails them.
    faults = {
        f"--item {c.item!r}: unknown; {c.axes} has {', '.join(items)}": c.item not in items,
        f"--domain {c.domain!r}: unknown; {c.axes} has {', '.join(domains)}": (
            c.domain not in domains
        ),
        f"--n {c.n}: give 1 or more": c.n < 1,
        f"--select {c.select}: give a number from 1 to --n {c.n}": not 1 <= c.select <= c.n,
        f"--first {c.first}: give 1 or more": c.first < 1,
        f"--per-request {c.per_request}: give 1 or more": c.per_request < 1,
        f"--timeout {c.timeout}: give seconds, more than 0": not c.timeout > 0,
        f"--max-retries {c.max_retries}: give 0 or more": c.max_retries < 0,
        f"--temperature {c.temperature}: give 0 or more": not c.temperature >= 0,
        "--model: give the name that the endpoint knows the model by": not c.model.strip(),
        "--price-in and --price-out: give both, 0 or more, or neither": not _prices_fit(c),
        f"--out {c.out}: end the name in .jsonl": c.out.suffix != ".jsonl",
    }
    for message, is_faulty in faults.items():
        if is_faulty:
            raise InputError(message)
    check_url(c.endpoint)
    _check_out(c)


def axes_fit(config: TeacherConfig) -> bool:
    """Whether the set could be loaded as it is, with the `axes.yaml` in the folder of `out`.

    Without that file, the one of the shipped cultural set is used. It must declare the item (with
    the same axis and label), the axis (with the same poles) and the domain.
    """
    axes = config.out.parent / "axes.yaml"
    if not axes.exists():
        axes = DATA / "culture" / "axes.yaml"
    try:
        there = Catalogue.model_validate(read_yaml(axes))
    except ValueError:
        return False
    item = config.catalogue.items[config.item]
    item_there = there.items.get(config.item)
    if item_there is None or (item_there.axis, item_there.label) != (item.axis, item.label):
        return False
    same_axis = there.axes.get(item.axis) == config.catalogue.axes[item.axis]
    return same_axis and config.domain in there.domains


def _prices_fit(config: TeacherConfig) -> bool:
    prices = [config.price_in, config.price_out]
    if prices == [None, None]:
        return True
    return all(price is not None and 0 <= price < float("inf") for price in prices)


def _check_out(config: TeacherConfig) -> None:
    """Refuse to overwrite a set that was edited by hand, or a file of another program."""
    out = config.out
    for path in (out, config.pool_path, config.manifest_path):
        refuse_folder(path)
    if not _is_ours(config):
        raise InputError(
            f"--out {out}: this file or its manifest {config.manifest_path.name} was edited after "
            "this command wrote it, or was written by something else; "
            "choose another name or move both away"
        )
    has_axes = (out.parent / "axes.yaml").exists()
    other_sets = [
        file
        for file in out.parent.glob("*.jsonl")
        if file != out and not file.name.endswith(".pool.jsonl")
    ]
    # A new axes.yaml would replace the one there, or change how the other sets are read.
    if (has_axes or other_sets) and not axes_fit(config):
        raise InputError(
            f"--out {out}: the axes.yaml in this folder (the shipped one if there is none) does "
            f"not declare {config.item} and {config.domain} as {config.axes} does; "
            "choose an empty folder, or the folder of that file"
        )


def _is_ours(config: TeacherConfig) -> bool:
    """Whether set and manifest do not exist yet, or are as this command wrote them."""
    if not config.out.exists() and not config.manifest_path.exists():
        return True
    try:
        checksum = read_json(config.manifest_path)["sha256"]
        return not config.out.exists() or file_checksum(config.out) == checksum
    except (OSError, InputError, KeyError):
        return False
