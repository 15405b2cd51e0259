"""The directions of a study: what its training half is read for, and which direction is steered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp_culture.artifacts.files import content_key
from interp_culture.engine.model import LanguageModel
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.scenarios.neutral import neutral_beginnings
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.activations import Activations, cache_activations
from interp_culture.steering.direction_choice import (
    CANDIDATES,
    PAPER,
    TEXTS_OF_LAYERS,
    Candidate,
    TrainingReadings,
    best_candidate,
    compare_directions,
    multiple_of_paper,
    training_halves,
)
from interp_culture.steering.extraction import extract
from interp_culture.steering.gradient_sweep import gradient_sweep
from interp_culture.steering.layer_choice import top_layers
from interp_culture.steering.layer_cost import layer_costs
from interp_culture.steering.optimised import DEFAULT_TRAINING, Training
from interp_culture.steering.readout_gradients import ReadoutGradients, cache_gradients
from interp_culture.steering.vector_files import load_vectors, save_vectors, stored_vectors
from interp_culture.steering.vectors import SteeringVectors, norm_matched
from interp_culture.study.config import StudyConfig
from interp_culture.study.summary import DirectionRecord

Once = Callable[[str, Callable[[], pd.DataFrame]], pd.DataFrame]
# What a brief study compares, and on how many beginnings of neutral texts.
BRIEF_CANDIDATES = (PAPER, Candidate("gradient"))
BRIEF_TEXTS = 2


@dataclass
class Directions:
    """The directions that a study makes of its training half, each stored when first computed.

    Attributes:
        model, train, form, config: of the study; `form` is the primary readout.
        folder, key: where vectors are stored, and under which key.
        once: `Study.once`.
    """

    model: LanguageModel
    train: ScenarioSet
    form: ReadoutFormat
    config: StudyConfig
    folder: Path
    key: str
    once: Once
    # Opened once: each time all of a folder is compared with its checksums.
    _opened: dict[str, Activations] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def candidate(self) -> Candidate:
        """The method and site that are steered: as configured, or chosen by `comparison`."""
        if self.config.method != "chosen":
            return Candidate(self.config.method, self.config.site)
        return best_candidate(self.comparison())

    @property
    def is_of_paper(self) -> bool:
        """Whether the steered directions are the paper's."""
        return self.candidate == PAPER

    @cached_property
    def about(self) -> DirectionRecord:
        """The steered directions, for the report."""
        is_chosen = self.config.method == "chosen"
        return {
            "method": self.candidate.method,
            "site": self.candidate.site,
            "name": self.candidate.words,
            "is_chosen": is_chosen,
            "is_of_paper": self.is_of_paper,
            "candidates": [of.words for of in self.candidates] if is_chosen else [],
            "multiple": multiple_of_paper(self.comparison()) if is_chosen else None,
        }

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The directions among which a study chooses."""
        return BRIEF_CANDIDATES if self.config.brief else CANDIDATES

    def comparison(self) -> pd.DataFrame:
        """What each candidate moves and costs on the training half: see `compare_directions`."""
        texts = neutral_beginnings(BRIEF_TEXTS) if self.config.brief else None
        return self.once(
            "direction_choice",
            lambda: compare_directions(
                self.model,
                self.readings(*self.candidates),
                self.of_paper(),
                candidates=self.candidates,
                k=self.config.top_k,
                texts=texts,
                seed=self.config.seed,
            ),
        )

    def layer_costs(self, sweep: pd.DataFrame) -> pd.DataFrame | None:
        """The cost of the layers that move each axis most, twice as many as are steered.

        None where layers are ranked by the differential, as in the paper, which knows no cost.
        """
        if self.config.layers_by == "differential":
            return None
        vectors = self.steered()
        k = min(2 * self.config.top_k, self.model.n_layers)
        tried = {axis: top_layers(sweep, axis, k, "effect") for axis in vectors}
        return self.once(
            "layer_costs",
            lambda: layer_costs(self.model, vectors, tried, neutral_beginnings(TEXTS_OF_LAYERS)),
        )

    def readings(self, *candidates: Candidate) -> TrainingReadings:
        """What the directions of some candidates are made of."""
        sites = {PAPER.site, *(candidate.site for candidate in candidates)}
        needs_gradients = any(candidate.method == "gradient" for candidate in candidates)
        return TrainingReadings(
            self.train,
            {site: self.activations(site) for site in sorted(sites)},
            self.gradients if needs_gradients else None,
        )

    def activations(self, site: str) -> Activations:
        """The training half's activations at a site, memory-mapped on disk."""
        if site not in self._opened:
            folder = self.folder / f"activations_{site}"
            self._opened[site] = cache_activations(self.model, self.train, folder, site)
        return self._opened[site]

    @property
    def needs_gradients(self) -> bool:
        """Whether the directions take the gradients of the training half anyway."""
        return self.config.method in ("chosen", "gradient")

    @cached_property
    def gradients(self) -> ReadoutGradients:
        """The gradients of the primary readout on the training half."""
        return cache_gradients(self.model, self.train, self.folder / "gradients", self.form)

    def mean_gradients(
        self, axis: str, without: ScenarioSet
    ) -> Float[np.ndarray, "layer d_model"] | None:
        """The mean gradient of an axis' P+ over training scenarios, but for some.

        None where the gradients are not there, or where few scenarios are left.
        """
        left_out = {scenario.id for scenario in without}
        ids = [s.id for s in self.train.filter(axis=axis) if s.id not in left_out]
        if not self.needs_gradients or len(ids) < len(without.filter(axis=axis)):
            return None
        return self.gradients.mean_of_p_positive(ids).numpy()

    def of_paper(self) -> dict[str, SteeringVectors]:
        """The paper's vectors: the mean difference at the last token of plain texts."""
        return self._stored(
            "paper_vectors",
            lambda: extract(self.model, self.train, activations=self.activations(PAPER.site)),
        )

    def steered(self) -> dict[str, SteeringVectors]:
        """The vectors that are steered, with the norms of the paper's."""
        if self.is_of_paper:
            return self.of_paper()
        return self._stored("vectors", self._compute)

    def at_layers(
        self, candidate: Candidate, layers: Mapping[str, Sequence[int]]
    ) -> dict[str, SteeringVectors]:
        """A candidate's vectors at some layers of each axis, with the norms of the paper's there.

        They are 0 at other layers, since some methods take seconds a layer. For "optimised" see
        `optimised`.
        """
        readings = self.readings(candidate)
        return readings.vectors(candidate, self.of_paper(), seed=self.config.seed, layers=layers)

    def optimised(
        self, layers: Mapping[str, Sequence[int]], training: Training = DEFAULT_TRAINING
    ) -> dict[str, SteeringVectors]:
        """Vectors that are trained together at some layers of each axis, with the paper's norms."""
        settings = content_key([{axis: list(layers[axis]) for axis in layers}, asdict(training)])
        # Training takes many passes, so that it has a file of its own for each setting.
        return self._stored(f"optimised_{settings}", lambda: self._train(layers, training))

    def _train(
        self, layers: Mapping[str, Sequence[int]], training: Training = DEFAULT_TRAINING
    ) -> dict[str, SteeringVectors]:
        trained = extract(
            self.model,
            self.train,
            "optimised",
            self.config.seed,
            readout=self.form,
            layers=layers,
            training=training,
        )
        return {axis: norm_matched(self.of_paper()[axis], of) for axis, of in trained.items()}

    @property
    def contrasts(self) -> Activations:
        """The activations whose differences the steered directions are made of."""
        return self.readings(self.candidate).contrasts(self.candidate)

    def of(self, scenarios: ScenarioSet) -> Float[Tensor, "layer d_model"]:
        """The steered kind of direction, from some training scenarios of one axis."""
        return self.readings(self.candidate).direction(self.candidate, scenarios, self.config.seed)

    def predicted_sweep(self) -> pd.DataFrame:
        """All layers by the gradients that are stored, on all training scenarios.

        Vectors that follow the gradient are judged by the half that they are not made of.
        """
        alphas = self.config.sweep_alphas
        if self.candidate.method != "gradient":
            return gradient_sweep(self.gradients, self.train, self.steered(), alphas)
        readings = self.readings(self.candidate)
        halves = training_halves(self.train, self.config.seed)
        tables = []
        for fitted, judged in (halves, halves[::-1]):
            vectors = readings.vectors(
                self.candidate, self.of_paper(), scenarios=fitted, seed=self.config.seed
            )
            tables.append(gradient_sweep(self.gradients, judged, vectors, alphas))
        return pd.concat(tables, ignore_index=True)

    def to_sweep(self, scenarios: ScenarioSet) -> tuple[ScenarioSet, dict[str, SteeringVectors]]:
        """The training scenarios and the vectors with which layers are swept.

        Vectors that follow the readout's gradient would move the scenarios that they come from
        further than others. So they come from other scenarios than those that are swept.
        """
        if self.candidate.method != "gradient":
            return scenarios, self.steered()
        if 2 * len(scenarios) > len(self.train):
            scenarios = training_halves(scenarios, self.config.seed)[0]
        swept = {scenario.id for scenario in scenarios}
        rest = self.train.with_ids(s.id for s in self.train if s.id not in swept)
        readings = self.readings(self.candidate)
        vectors = readings.vectors(
            self.candidate, self.of_paper(), scenarios=rest, seed=self.config.seed
        )
        return scenarios, vectors

    def _compute(self) -> dict[str, SteeringVectors]:
        candidate = self.candidate
        if candidate.method != "optimised":
            readings = self.readings(candidate)
            return readings.vectors(candidate, self.of_paper(), seed=self.config.seed)
        # A configuration of this method has layers.
        return self._train(self.config.layers or {})

    def _stored(
        self, name: str, compute: Callable[[], Mapping[str, SteeringVectors]]
    ) -> dict[str, SteeringVectors]:
        """The vectors in a file of the study's folder, computed if they are not there yet."""
        path = self.folder / f"{name}.safetensors"
        # Vectors are no table, so `once` cannot store them.
        vectors = stored_vectors(path, self.key)
        if vectors is None:
            save_vectors(path, dict(compute()), self.key)
            vectors = load_vectors(path)
        return vectors


def geometry(vectors: Mapping[str, SteeringVectors]) -> pd.DataFrame:
    """Norm, share of the residual norm, and cosine with every axis, by axis and layer."""
    rows = []
    for axis, of_axis in vectors.items():
        for layer, direction in enumerate(of_axis.direction):
            norm = float(direction.norm())
            share = norm / float(of_axis.resid_norm[layer])
            row = {"axis": axis, "layer": layer, "norm": norm, "norm_share": share}
            for other, of_other in vectors.items():
                cosine = torch.cosine_similarity(direction, of_other.direction[layer], dim=0)
                row[f"cos_{other}"] = float(cosine)
            rows.append(row)
    return pd.DataFrame(rows)
