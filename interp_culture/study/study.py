"""The whole experiment from one configuration, resumable: every table is stored when it is finished."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
import torch

from interp_culture.artifacts import content_key, make_folder, table_once, write_json, write_table
from interp_culture.coupling.steered import steered_readouts
from interp_culture.engine.interventions import Edit
from interp_culture.engine.loading import load_model
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import System
from interp_culture.errors import InputError
from interp_culture.readout.formats import READOUTS, Readout, ReadoutFormat
from interp_culture.readout.probing import read_runs
from interp_culture.readout.prompts import template_hash
from interp_culture.readout.tables import with_keys
from interp_culture.readout.validity import Validity, check_readout
from interp_culture.scenarios.files import load_scenarios
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.activations import Activations, cache_activations
from interp_culture.steering.sweep import layer_sweep, top_layers
from interp_culture.steering.vectors import (
    SteeringVectors,
    extract,
    load_vectors,
    save_vectors,
    stored_key,
)
from interp_culture.study.analysis import Analysis, Tables, chosen
from interp_culture.study.config import StudyConfig
from interp_culture.study.sources import foreign_package, source_hash
from interp_culture.study.summary import StudyDescription, Summary, derive, summarise_study
from interp_culture.survey import culture_map

log = logging.getLogger(__name__)


@dataclass
class Study:
    """One run of the experiment. `run()` does what is not yet in `config.out` and returns the summary."""

    config: StudyConfig
    on_step: Callable[[str], None] = log.info

    def run(self) -> Summary:
        started = time.monotonic()
        folder = self.folder
        self.on_step(f"loading {self.config.model}")
        model = self.model
        self.on_step(
            f"{model.name}: {model.n_layers} layers; {len(self.train)} training, {len(self.test)} test texts"
        )
        validity = self.validity()
        lead = self.lead
        self.on_step(f"leading readout: {lead}; extracting vectors")
        self.vectors()
        self.on_step("sweeping layers")
        sweep = self.sweep()
        tables = []
        others = [r for r in READOUTS if r != lead and not self.config.brief]
        for readout in (lead, *others):
            self.on_step(f"steering the held-out scenarios, readout {readout}")
            tables.append(self.steered(readout))
        readouts = pd.concat(tables, ignore_index=True)
        self.on_step("writing tables and summary")
        derived = derive(readouts, lead)
        for name, table in derived.items():
            write_table(folder, name, table.reset_index(drop=True), self.manifest)
        plain = readouts[(readouts.method == "plain") & (readouts.readout == lead)]
        summary = summarise_study(self.about, validity, sweep, plain, derived, self.manifest["key"])
        summary["seconds"] = round(time.monotonic() - started, 1)
        write_json(folder / "summary.json", summary)
        write_json(folder / "manifest.json", self.manifest)
        for analysis in self._analyses():
            self.on_step(f"analysis {analysis.name}: {analysis.question}")
            self.measure(analysis)
        return summary

    def _analyses(self) -> list[Analysis]:
        """Those that are asked for; of `all` those whose items are here."""
        on_map = culture_map.covers(set(self.scenarios.items))
        names = self.config.analyses
        return [a for a in chosen(names) if on_map or not a.on_map or a.name in names]

    def measure(self, analysis: Analysis) -> Tables:
        """The tables of an analysis, each stored as `NAME.table`; `NAME.tables.json` lists those of a finished one."""
        tables = analysis.measure(self)
        manifest = self._manifest_of(analysis.measure)
        for name, table in tables.items():
            write_table(
                self.folder, f"{analysis.name}.{name}", table.reset_index(drop=True), manifest
            )
        finished = {"tables": list(tables), "key": manifest["key"], "study": self.manifest["key"]}
        write_json(self.folder / f"{analysis.name}.tables.json", finished)
        return tables

    @cached_property
    def folder(self) -> Path:
        return make_folder(self.config.out)

    @cached_property
    def model(self) -> LanguageModel:
        return load_model(self.config.model, device=self.config.device, dtype=self.config.dtype)

    @cached_property
    def scenarios(self) -> ScenarioSet:
        return load_scenarios(self.config.scenarios)

    @cached_property
    def halves(self) -> tuple[ScenarioSet, ScenarioSet]:
        return self.scenarios.split(self.config.seed)

    @cached_property
    def train(self) -> ScenarioSet:
        return self._reduced(self.halves[0], self.config.train_per_cell, "cell")

    @cached_property
    def test(self) -> ScenarioSet:
        return self._reduced(self.halves[1], self.config.test_per_cell, "cell")

    @cached_property
    def null(self) -> ScenarioSet | None:
        """The held-out scenarios under random vectors; None where it is all of them."""
        per_item = self.config.null_per_item
        return self._reduced(self.test, per_item, "item") if per_item else None

    def _reduced(
        self, scenarios: ScenarioSet, n: int | None, by: Literal["cell", "item"]
    ) -> ScenarioSet:
        """A sample with the study's seed; all of them where there is no number."""
        return scenarios.sample(n, self.config.seed, by) if n else scenarios

    @cached_property
    def lead(self) -> Readout:
        """The letters, as in the paper, where they pass their check; else the first readout that does."""
        checks = self.validity()
        return next((r for r in READOUTS if checks[r].ok), "continuation")

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the tables come from. The key is of all that decides their numbers: configuration, the model's weights,
        tokenizer and chat template, scenarios, and the code with its data files; not of the model's name or place."""
        content = {
            "config": self.config.key(),
            **self.model.describe(),
            "scenarios": self.scenarios.digest,
            "templates": template_hash(),
            "source": source_hash("interp_culture"),
            "versions": {
                p: version(p)
                for p in ("interp-culture", "transformer-lens", "transformers", "torch")
            },
        }
        return {
            **content,
            "key": content_key({**content, **_nameless(content)}),
            **_git_state(),
            "threads": torch.get_num_threads(),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _manifest_of(self, compute: Callable[..., Any]) -> dict[str, Any]:
        """The manifest of a table; of an analysis' with the code of its package, on which the table hangs too."""
        package = foreign_package(compute)
        if package is None:
            return self.manifest
        source, study = source_hash(package), self.manifest["key"]
        about = {"study": study, "analysis_source": source, "key": content_key([study, source])}
        return {**self.manifest, **about}

    @cached_property
    def some(self) -> ScenarioSet:
        """A stratified sample of the held-out scenarios, for analyses that steer in many ways."""
        return self._reduced(self.test, self.config.some_per_item, "item")

    @cached_property
    def told(self) -> ScenarioSet:
        """The held-out scenarios that are read under personas."""
        return self._reduced(self.test, self.config.persona_per_item, "item")

    @cached_property
    def sweep_scenarios(self) -> ScenarioSet:
        """The training scenarios on which layers are swept."""
        return self._reduced(self.train, self.config.sweep_per_item, "item")

    @cached_property
    def activations(self) -> Activations:
        """Residual streams of the training half's contrastive texts, memory-mapped from the study's folder."""
        return cache_activations(self.model, self.train, self.folder / "activations")

    @cached_property
    def layers(self) -> dict[str, list[int]]:
        """The intervention's layers by axis: those that are configured, else the largest differentials of the sweep."""
        axes, fixed = list(self.vectors()), self.config.layers
        if fixed is None:
            sweep = self.sweep()
            return {axis: top_layers(sweep, axis, self.config.top_k) for axis in axes}
        if set(fixed) != set(axes):
            raise InputError(
                f"field layers: it names axes {', '.join(fixed)}; the scenarios have {', '.join(axes)}"
            )
        return {axis: fixed[axis] for axis in axes}

    @property
    def about(self) -> StudyDescription:
        """What sections of a report say of the study besides its tables; `summary.json` holds it too."""
        catalogue = self.scenarios.catalogue
        description = {
            "model": self.model.describe(),
            "config": self.config.model_dump(),
            "axes": {a: x.model_dump() for a, x in catalogue.axes.items()},
            "items": {i: x.label for i, x in catalogue.items.items()},
            "n_train": len(self.train),
            "n_test": len(self.test),
            "n_some": len(self.some),
            "n_told": len(self.told),
            "n_null": len(self.null or self.test),
            "lead": self.lead,
            "layers": self.layers,
        }
        return cast("StudyDescription", description)

    def once(self, name: str, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The stored table, or the computed one, stored: a study that was cut off goes on from here.

        What was computed by other code, by another model or from other texts is computed again.
        """
        return table_once(self.folder, name, self._manifest_of(compute), compute)

    def read(
        self,
        runs: Mapping[Any, Sequence[Edit]],
        names: Sequence[str],
        scenarios: ScenarioSet | None = None,
        readout: ReadoutFormat | None = None,
    ) -> pd.DataFrame:
        """`read_runs`, with runs keyed by tuples that become the columns `names`.

        Args:
            scenarios: `some` by default.
            readout: `format()` by default.
        """
        scenarios = self.some if scenarios is None else scenarios
        form = self.format() if readout is None else readout
        return with_keys(read_runs(self.model, scenarios, runs, readout=form), names)

    def format(self, readout: Readout | None = None, system: System = None) -> ReadoutFormat:
        """The study's order and seed, with the leading readout by default."""
        return ReadoutFormat(
            readout or self.lead,
            order=self.config.order,
            system=system,
            seed=self.config.seed,
        )

    def validity(self) -> dict[str, Validity]:
        """The check of every readout, by its name; a stored one is not read again."""

        def compute() -> pd.DataFrame:
            return pd.DataFrame([check_readout(self.model, r).row for r in READOUTS])

        rows = self.once("validity", compute).to_dict("records")
        return {
            row["readout"]: Validity.from_row({str(k): v for k, v in row.items()}) for row in rows
        }

    def vectors(self) -> dict[str, SteeringVectors]:
        """The training half's vectors; the table beside them gives norms and the cosine between axes by layer."""
        path, key = self.folder / "vectors.safetensors", self.manifest["key"]
        if stored_key(path) != key:
            save_vectors(path, extract(self.model, self.train, self.config.method), key)
        vectors = load_vectors(path)
        self.once("vectors", lambda: _geometry(vectors))
        return vectors

    def sweep(self) -> pd.DataFrame:
        return self.once(
            "sweep",
            lambda: layer_sweep(
                self.model,
                self.sweep_scenarios,
                self.vectors(),
                alpha=self.config.sweep_alphas,
                readout=self.format(),
                method=self.config.sweep_method,
                k=self.config.top_k,
            ),
        )

    def steered(self, readout: Readout) -> pd.DataFrame:
        """All held-out scenarios under all edits; random vectors for the leading readout alone."""
        strengths = [s * a for a in self.config.alphas for s in (1, -1)]
        return self.once(
            f"steered_{readout}",
            lambda: steered_readouts(
                self.model,
                self.test,
                self.vectors(),
                self.layers,
                alphas=strengths,
                n_random=self.config.n_random if readout == self.lead else 0,
                null_scenarios=self.null,
                readout=self.format(readout),
                seed=self.config.seed,
            ).assign(readout=readout),
        )

    def plain(self, scenarios: ScenarioSet) -> pd.DataFrame:
        """The leading readout of some of the held-out scenarios without edits, which `steered` has read."""
        table = self.steered(self.lead)
        own = table[(table.method == "plain") & table.id.isin({s.id for s in scenarios})]
        return own.drop(columns=["steered", "method", "draw", "alpha", "readout"])


def run_study(config: StudyConfig, on_step: Callable[[str], None] = log.info) -> Summary:
    """Run (or finish) a study and return its summary; tables, vectors and summary.json lie in `config.out`."""
    return Study(config, on_step).run()


def _geometry(vectors: dict[str, SteeringVectors]) -> pd.DataFrame:
    rows = []
    for axis, v in vectors.items():
        for layer, direction in enumerate(v.direction):
            cosines = {
                f"cos_{other}": float(torch.cosine_similarity(direction, o.direction[layer], dim=0))
                for other, o in vectors.items()
            }
            norm = float(direction.norm())
            share = norm / float(v.resid_norm[layer])
            rows.append(
                {"axis": axis, "layer": layer, "norm": norm, "norm_share": share, **cosines}
            )
    return pd.DataFrame(rows)


def _nameless(content: dict[str, Any]) -> dict[str, Any]:
    """In place of what does not decide a number: what the model is called, where it lies and where it runs."""
    config = {
        **content["config"],
        "model": None,
        "dtype": None,
    }  # the dtype that was resolved stands beside it
    return {"config": config, "model": None, "revision": None, "device": None}


def _git_state() -> dict[str, Any]:
    """Commit of the code and whether it was changed since; nothing outside a clone."""
    here = Path(__file__).parent

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *args], capture_output=True, text=True, check=True
        ).stdout

    try:
        return {
            "commit": git("rev-parse", "HEAD").strip(),
            "dirty": bool(git("status", "--porcelain").strip()),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
