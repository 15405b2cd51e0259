"""A study: the whole experiment from one configuration, stored table by table."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd

from interp_culture.artifacts.files import content_key, remove_scratch, write_json
from interp_culture.artifacts.folders import make_folder
from interp_culture.artifacts.journal import forget, journal
from interp_culture.artifacts.locks import locked
from interp_culture.artifacts.sources import foreign_package, source_hash
from interp_culture.artifacts.tables import keep_table, table_once
from interp_culture.coupling.control import designed_growth, planted_response
from interp_culture.coupling.planted import leak_of_size
from interp_culture.coupling.random_vectors import (
    CHECKED,
    PREDICTED,
    NullAgreement,
    null_check,
    predicted_random,
)
from interp_culture.coupling.responses import response_matrix
from interp_culture.coupling.steered import RUN_COLUMNS, steered_readouts
from interp_culture.engine.interventions import Edit
from interp_culture.engine.leaks import save_leak
from interp_culture.engine.loading import load_model
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import System
from interp_culture.errors import InputError
from interp_culture.readout.formats import READOUTS, Readout, ReadoutFormat
from interp_culture.readout.probing import read_runs
from interp_culture.readout.tables import with_keys
from interp_culture.readout.validity import check_readout, resolve_format
from interp_culture.readout.verdict import Validity
from interp_culture.scenarios.files import load_scenarios
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.activations import Activations
from interp_culture.steering.edits import steer
from interp_culture.steering.layer_choice import top_layers
from interp_culture.steering.readout_gradients import ReadoutGradients, cache_gradients
from interp_culture.steering.sweep import layer_sweep
from interp_culture.steering.vectors import SteeringVectors
from interp_culture.study.analysis import Analysis, Tables, chosen
from interp_culture.study.config import StudyConfig
from interp_culture.study.directions import Directions, geometry
from interp_culture.study.manifest import study_manifest
from interp_culture.study.summary import (
    Manifest,
    NullRecord,
    PlantedSettings,
    StudyDescription,
    Summary,
    derive,
    summarise_study,
)
from interp_culture.survey import culture_map

# Held-out scenarios per item on which predicted effects of random vectors are compared with
# measured ones. Both are means over the same scenarios, so that few will do.
CHECKED_PER_ITEM = 1
# Random vectors for each axis that a brief study measures.
CHECKED_BRIEF = 3
# What one process at a time writes in a study's folder.
LOCK = "tables"

log = logging.getLogger(__name__)


@dataclass
class Study:
    """One run of the experiment, which goes on where it was cut off.

    Every table is stored in `config.out` as soon as it is complete, and is not computed again while
    nothing that decides its numbers changes.

    Attributes:
        config: everything that decides the numbers.
        on_step: is called with a sentence at the start of each step.

    >>> study = ic.Study(ic.StudyConfig(model="smollm2"))
    >>> study.folder.name
    'study'
    >>> study.run()["layers"]  # doctest: +SKIP
    """

    config: StudyConfig
    on_step: Callable[[str], None] = log.info

    def run(self) -> Summary:
        """Compute what is not yet in `config.out`, and return the summary.

        A second process on the same folder waits until the first is done, and finds its tables.
        """
        with locked(self.folder / LOCK):
            remove_scratch(self.folder)
            return self._run()

    def _run(self) -> Summary:
        started = time.monotonic()
        folder = self.folder
        self.on_step(f"loading {self.config.model}")
        model = self.model
        self.on_step(
            f"{model.name}: {model.n_layers} layers; "
            f"{len(self.train)} training, {len(self.test)} test texts"
        )
        validity = self.validity()
        self.on_step(f"primary readout: {self.primary_readout}; extracting vectors")
        self.vectors()
        self.on_step("sweeping layers")
        sweep = self.sweep()
        readouts = self._all_steered()
        if self.control is not None:
            self.on_step("steering the model with a planted coupling")
        planted = self.planted()
        if self.steers_beside_paper:
            self.on_step("steering with the paper's directions")
        paper_matrix = self.paper_matrix()
        self.on_step("writing tables and summary")
        derived = derive(readouts, self.primary_readout, self.null_record["even"])
        for name, table in derived.items():
            keep_table(folder, name, table.reset_index(drop=True), self.manifest)
        is_plain = (readouts.method == "plain") & (readouts.readout == self.primary_readout)
        key = self.manifest["key"]
        if planted is not None:
            derived["planted"] = planted
        derived["paper_matrix"] = paper_matrix
        summary = summarise_study(self.about, validity, sweep, readouts[is_plain], derived, key)
        summary["seconds"] = round(time.monotonic() - started, 1)
        write_json(folder / "summary.json", summary)
        # After the summary: a report is refused while the keys of the two files differ.
        write_json(
            folder / "manifest.json", {**self.manifest, "prefix": validity["letters"].prefix}
        )
        # After the manifest, so that an analysis that fails leaves a finished study.
        for analysis in self.analyses():
            self.on_step(f"analysis {analysis.name}: {analysis.question}")
            self.measure(analysis)
        return summary

    def _all_steered(self) -> pd.DataFrame:
        """The held-out scenarios under steering, by the primary readout and then by the others."""
        others = [readout for readout in READOUTS if readout != self.primary_readout]
        read = [self.primary_readout] if self.config.brief else [self.primary_readout, *others]
        tables = []
        for readout in read:
            self.on_step(f"steering the held-out scenarios, readout {readout}")
            tables.append(self.steered(readout))
        return pd.concat(tables, ignore_index=True)

    def analyses(self) -> list[Analysis]:
        """The analyses of the configuration; `all` leaves out those whose items are not here."""
        has_map_items = culture_map.covers(set(self.scenarios.items))
        names = self.config.analyses
        return [
            analysis
            for analysis in chosen(names)
            if has_map_items or not analysis.on_map or analysis.name in names
        ]

    def measure(self, analysis: Analysis) -> Tables:
        """The tables of an analysis, each stored as `NAME.table`.

        `NAME.tables.json` lists the tables once the analysis is finished.
        """
        folder = self.folder  # first, so that a path that cannot be written to shows at once
        with locked(folder / LOCK):
            return self._measure(analysis, folder)

    def _measure(self, analysis: Analysis, folder: Path) -> Tables:
        tables = analysis.measure(self)
        manifest = self._manifest_of(analysis.measure)
        for name, table in tables.items():
            whole = table.reset_index(drop=True)
            keep_table(folder, f"{analysis.name}.{name}", whole, manifest)
        finished = {"tables": list(tables), "key": manifest["key"], "study": self.manifest["key"]}
        write_json(folder / f"{analysis.name}.tables.json", finished)
        return tables

    # -- what is read, and where it is stored ---------------------------------------------------

    @cached_property
    def folder(self) -> Path:
        """`config.out`, known to be writable."""
        return make_folder(self.config.out)

    @cached_property
    def model(self) -> LanguageModel:
        """The hooked model."""
        return load_model(self.config.model, device=self.config.device, dtype=self.config.dtype)

    @cached_property
    def scenarios(self) -> ScenarioSet:
        """All scenarios, before they are split."""
        return load_scenarios(self.config.scenarios)

    @cached_property
    def halves(self) -> tuple[ScenarioSet, ScenarioSet]:
        """The training half and the held-out half."""
        # Split before sampling: a scenario is in the same half whatever the sizes of the samples.
        return self.scenarios.split(self.config.seed)

    @cached_property
    def train(self) -> ScenarioSet:
        """The training scenarios, from which vectors are made."""
        return self._sample(self.halves[0], self.config.train_per_cell, "cell")

    @cached_property
    def test(self) -> ScenarioSet:
        """The held-out scenarios, on which steering is measured."""
        return self._sample(self.halves[1], self.config.test_per_cell, "cell")

    @cached_property
    def null(self) -> ScenarioSet | None:
        """The held-out scenarios under random vectors; None for all of them."""
        per_item = self.config.null_per_item
        return self._sample(self.test, per_item, "item") if per_item else None

    @cached_property
    def sample(self) -> ScenarioSet:
        """A stratified sample of the held-out scenarios, for analyses that steer in many ways."""
        return self._sample(self.test, self.config.sample_per_item, "item")

    @cached_property
    def persona_scenarios(self) -> ScenarioSet:
        """The held-out scenarios that are read under personas."""
        return self._sample(self.test, self.config.persona_per_item, "item")

    @cached_property
    def sweep_scenarios(self) -> ScenarioSet:
        """The training scenarios on which layers are swept."""
        return self._sample(self.train, self.config.sweep_per_item, "item")

    def _sample(
        self, scenarios: ScenarioSet, n: int | None, by: Literal["cell", "item"]
    ) -> ScenarioSet:
        """A sample by the study's seed; all of them where no number is configured."""
        return scenarios.sample(n, self.config.seed, by) if n else scenarios

    @cached_property
    def primary_readout(self) -> Readout:
        """The primary readout: as configured, or letters, where they pass without a caution.

        Else continuation where it passes; else letters where they pass with a caution. Where no
        readout passes, continuation.
        """
        if self.config.readout is not None:
            return self.config.readout
        checks = self.validity()
        passing = [readout for readout in READOUTS if checks[readout].ok]
        clean = [readout for readout in passing if not checks[readout].cautions]
        return next(iter([*clean, *passing]), "continuation")

    def format(self, readout: Readout | None = None, system: System = None) -> ReadoutFormat:
        """A readout, the primary one by default, with the settings of the study."""
        readout = readout or self.primary_readout
        return ReadoutFormat(
            readout,
            order=self.config.order,
            # A continuation has no prefix.
            prefix=self.config.prefix if readout == "letters" else None,
            think=self.config.think,
            system=system,
            seed=self.config.seed,
        )

    @cached_property
    def manifest(self) -> Manifest:
        """What the tables come from: see `study_manifest`."""
        return study_manifest(self.config, self.model, self.scenarios)

    def _manifest_of(self, compute: Callable[..., Any]) -> Mapping[str, Any]:
        """The manifest of a table; an analysis' table depends on the code of its package too."""
        package = foreign_package(compute)
        if package is None:
            return self.manifest
        source = source_hash(package)
        study = self.manifest["key"]
        key = content_key([study, source])
        return {**self.manifest, "study": study, "analysis_source": source, "key": key}

    @property
    def about(self) -> StudyDescription:
        """The facts on the study that reports need besides tables; in `summary.json` too."""
        catalogue = self.scenarios.catalogue
        description = {
            "model": self.model.describe(),
            "config": self.config.model_dump() | {"planted": self.control},
            "axes": {
                name: {"negative": axis.negative, "positive": axis.positive}
                for name, axis in catalogue.axes.items()
            },
            "items": {name: item.label for name, item in catalogue.items.items()},
            "n_train": len(self.train),
            "n_test": len(self.test),
            "n_sample": len(self.sample),
            "n_persona": len(self.persona_scenarios),
            "n_null": len(self.test if self.null_is_predicted else self.null or self.test),
            "null": self.null_record,
            "primary_readout": self.primary_readout,
            "layers": self.layers,
            "direction": self.directions.about,
        }
        return cast("StudyDescription", description)

    # -- steps ----------------------------------------------------------------------------------

    def once(self, name: str, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The stored table, or the computed one, which is then stored.

        A table is computed again where the code, the model or the texts have changed. A computation
        that was stopped goes on after the batches of readouts that it had finished.
        """
        manifest = self._manifest_of(compute)

        def in_parts() -> pd.DataFrame:
            with journal(self.folder, name, manifest["key"]):
                return compute()

        with locked(self.folder / LOCK):
            table = table_once(self.folder, name, manifest, in_parts)
            forget(self.folder, name)
        return table

    def read(
        self,
        runs: Mapping[Any, Sequence[Edit]],
        names: Sequence[str],
        scenarios: ScenarioSet | None = None,
        readout: ReadoutFormat | None = None,
    ) -> pd.DataFrame:
        """`read_runs`, with the keys of the runs as columns.

        Args:
            runs: edits by a tuple.
            names: the columns of the tuple's values.
            scenarios: `sample` by default.
            readout: `format()` by default.
        """
        scenarios = self.sample if scenarios is None else scenarios
        form = self.format() if readout is None else readout
        return with_keys(read_runs(self.model, scenarios, runs, readout=form), names)

    def by_readout(
        self,
        name: str,
        primary: pd.DataFrame,
        read: Callable[[Readout], pd.DataFrame],
    ) -> dict[str, pd.DataFrame]:
        """A table by the primary readout, and by the other one if that passes its check.

        A readout that cannot tell right from wrong shows nothing, and reading it takes as long. A
        brief study reads the primary one alone.

        Args:
            name: of the other readout's table, which is stored.
            primary: the table by the primary readout.
            read: the table by a readout.
        """
        tables: dict[str, pd.DataFrame] = {self.primary_readout: primary}
        if self.config.brief:
            return tables
        for readout in READOUTS:
            if readout not in tables and self.validity()[readout].ok:
                tables[readout] = self.once(name, partial(read, readout))
        return tables

    def validity(self) -> dict[str, Validity]:
        """The check of every readout, by its name."""

        def compute() -> pd.DataFrame:
            checks = [check_readout(self.model, self.format(readout)) for readout in READOUTS]
            return pd.DataFrame([check.row for check in checks])

        checks = {}
        for row in self.once("validity", compute).to_dict("records"):
            fields = {str(name): value for name, value in row.items()}
            checks[fields["readout"]] = Validity.from_row(fields)
        return checks

    @cached_property
    def directions(self) -> Directions:
        """The directions that are made of the training half."""
        return Directions(
            self.model,
            self.train,
            self.format(),
            self.config,
            self.folder,
            self.manifest["key"],
            self.once,
        )

    @property
    def activations(self) -> Activations:
        """Residual streams of the training half's texts, at the site of the steered direction."""
        return self.directions.activations(self.directions.candidate.site)

    def vectors(self) -> dict[str, SteeringVectors]:
        """The steering vectors of the training half, by axis.

        The table `vectors` holds norms and the cosines between axes, by layer.
        """
        vectors = self.directions.steered()
        self.once("vectors", lambda: geometry(vectors))
        return vectors

    def sweep(self) -> pd.DataFrame:
        """Every layer steered alone, on training scenarios: the table of `layer_sweep`."""

        def compute() -> pd.DataFrame:
            if self.config.sweep_method == "gradient" and self.directions.needs_gradients:
                return self.directions.predicted_sweep()
            scenarios, vectors = self.directions.to_sweep(self.sweep_scenarios)
            return layer_sweep(
                self.model,
                scenarios,
                vectors,
                alpha=self.config.sweep_alphas,
                readout=self.format(),
                method=self.config.sweep_method,
                k=self.config.top_k,
                by=self.config.layers_by,
            )

        return self.once("sweep", compute)

    def layer_costs(self) -> pd.DataFrame | None:
        """The cost of the layers that move each axis most: see `Directions.layer_costs`."""
        return self.directions.layer_costs(self.sweep())

    @cached_property
    def layers(self) -> dict[str, list[int]]:
        """The steered layers by axis: those of the configuration, else the best of the sweep."""
        axes = list(self.vectors())
        fixed = self.config.layers
        if fixed is None:
            sweep = self.sweep()
            costs = self.layer_costs()
            by, k = self.config.layers_by, self.config.top_k
            return {axis: top_layers(sweep, axis, k, by, costs) for axis in axes}
        if set(fixed) != set(axes):
            raise InputError(
                f"field layers: it names axes {', '.join(fixed)}; "
                f"the scenarios have {', '.join(axes)}"
            )
        return {axis: fixed[axis] for axis in axes}

    def steered(self, readout: Readout) -> pd.DataFrame:
        """The held-out scenarios under all edits; random vectors by the primary readout alone."""
        strengths = [sign * alpha for alpha in self.config.alphas for sign in (1, -1)]
        n_random = self.config.n_random if readout == self.primary_readout else 0
        is_predicted = n_random > 0 and self.null_is_predicted
        form = self.format(readout)

        def compute() -> pd.DataFrame:
            table = steered_readouts(
                self.model,
                self.test,
                self.vectors(),
                self.layers,
                alphas=strengths,
                n_random=0 if is_predicted else n_random,
                null_scenarios=self.null,
                readout=form,
                seed=self.config.seed,
            )
            if is_predicted:
                table = pd.concat([table, self.predicted_null], ignore_index=True)
            prefix = resolve_format(self.model, form).prefix
            return table.assign(readout=readout, prefix=prefix)

        return self.once(f"steered_{readout}", compute)

    @cached_property
    def predicted_null(self) -> pd.DataFrame:
        """The effects of random vectors to first order, on all held-out scenarios."""
        # On all of them, since they cost no more than a few readouts.
        return predicted_random(
            self.model,
            self.test,
            self.vectors(),
            self.layers,
            alpha=max(self.config.alphas),
            readout=self.format(),
            seed=self.config.seed,
            gradients=self.held_out_gradients,
        )

    @cached_property
    def held_out_gradients(self) -> ReadoutGradients:
        """The gradients of the primary readout on the held-out half, which make the null."""
        return cache_gradients(
            self.model, self.test, self.folder / "gradients_held_out", self.format()
        )

    def null_check(self) -> pd.DataFrame:
        """Random vectors, predicted and measured on a few held-out scenarios."""
        return self.once(
            "null_check",
            lambda: null_check(
                self.model,
                self._sample(self.test, CHECKED_PER_ITEM, "item"),
                self.vectors(),
                self.layers,
                alpha=max(self.config.alphas),
                n=CHECKED_BRIEF if self.config.brief else CHECKED,
                readout=self.format(),
                seed=self.config.seed,
                predicted=self.predicted_null,
            ),
        )

    @cached_property
    def null_is_predicted(self) -> bool:
        """Whether effects of random vectors are predicted: as configured, if the check agrees."""
        if self.config.null == "measured":
            return False
        agreement = NullAgreement.of(self.null_check())
        if not agreement.holds:
            self.on_step(f"{agreement}; measuring {self.config.n_random} of them")
        return agreement.holds

    @property
    def null_record(self) -> NullRecord:
        """How the null was computed, for the report."""
        if self.config.null == "measured":
            return {"is_predicted": False, "n": self.config.n_random, "check": None, "even": 0.0}
        agreement = NullAgreement.of(self.null_check())
        holds = agreement.holds
        return {
            "is_predicted": holds,
            "n": PREDICTED if holds else self.config.n_random,
            "check": str(agreement),
            "even": agreement.even if holds else 0.0,
        }

    def planted(self) -> pd.DataFrame | None:
        """The positive control: the response of the model with a leak of known size.

        The leak comes from training scenarios and is stored as `leak.safetensors`. None where no
        control is configured.
        """
        control = self.control
        return None if control is None else self.once("planted", lambda: self._planted(control))

    @cached_property
    def control(self) -> PlantedSettings | None:
        """The positive control with its axes; None if none is configured, or with a single axis."""
        planted = self.config.planted
        axes = list(self.scenarios.axes)
        if planted is None or len(axes) < 2:
            return None
        steered = planted.steered or axes[0]
        others = [axis for axis in axes if axis != steered]
        settings = planted.model_dump() | {"steered": steered, "axis": planted.axis or others[0]}
        return cast("PlantedSettings", settings)

    def _planted(self, control: PlantedSettings) -> pd.DataFrame:
        vectors = self.vectors()
        top = max(self.config.alphas)
        leak = leak_of_size(
            self.model,
            self.sweep_scenarios,
            vectors,
            self.layers,
            steered=control["steered"],
            axis=control["axis"],
            size=control["size"],
            block=control["block"],
            kind=control["kind"],
            alpha=top,
            readout=self.format(),
            writes=self.directions.mean_gradients(control["axis"], self.sweep_scenarios),
        )
        save_leak(self.folder / "leak.safetensors", leak)
        # A brief study reads what it looks for alone.
        brief = self.config.brief
        table = planted_response(
            self.model,
            leak,
            self.test.filter(axis=control["axis"]) if brief else self.test,
            {control["steered"]: vectors[control["steered"]]},
            self.layers,
            self.steered(self.primary_readout),
            alpha=top,
            predicted=designed_growth(control) if brief else None,
            readout=self.format(),
            seed=self.config.seed,
        )
        return table.assign(block=leak.block, kind=leak.kind, kappa=leak.size)

    @property
    def steers_beside_paper(self) -> bool:
        """Whether the paper's directions are measured beside those that are steered."""
        return not (self.directions.is_of_paper or self.config.brief)

    def paper_matrix(self) -> pd.DataFrame:
        """The response matrix of the paper's directions, at the layers of the steered ones.

        They have the same norms there, so that the same random vectors are their null. The table is
        empty where the paper's directions are the ones that are steered, and in a brief study.
        """
        return self.once("paper_matrix", self._paper_matrix)

    def _paper_matrix(self) -> pd.DataFrame:
        steered = self.steered(self.primary_readout)
        if not self.steers_beside_paper:
            return response_matrix(steered).iloc[:0]
        top = max(self.config.alphas)
        runs = {
            (axis, vectors.method, -1, alpha): steer(vectors, self.layers[axis], alpha)
            for axis, vectors in self.directions.of_paper().items()
            for alpha in (top, -top)
        }
        own = self.read(runs, RUN_COLUMNS, self.test)
        shared = steered[steered.method.isin(["plain", "random"])]
        return response_matrix(pd.concat([shared, own], ignore_index=True))

    def plain(self, scenarios: ScenarioSet) -> pd.DataFrame:
        """The primary readout of held-out scenarios without edits, out of `steered`."""
        # The plain rows are in that table already, so that no run is needed.
        table = self.steered(self.primary_readout)
        ids = {scenario.id for scenario in scenarios}
        is_plain = (table.method == "plain") & table.id.isin(ids)
        of_run = ["steered", "method", "draw", "alpha", "readout", "prefix"]
        # Columns that predicted rows do not have are of a wider type in the whole table.
        return table[is_plain].drop(columns=of_run).infer_objects()


def run_study(config: StudyConfig, on_step: Callable[[str], None] = log.info) -> Summary:
    """Run or finish a study, and return its summary.

    Tables, vectors, `summary.json` and `manifest.json` are in the folder `config.out`.
    """
    return Study(config, on_step).run()
