"""Sites against activations of plain Hugging Face passes over the whole texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Pair
from reference import forward
from torch import Tensor

from interp_culture.engine.interventions import HOOK_POINTS
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.errors import InputError
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.prompts import continuation_prompts, letter_prompts
from interp_culture.scenarios.scenario import Scenario, ScenarioSet
from interp_culture.steering.activations import cache_activations, read_activations
from interp_culture.steering.edits import steer
from interp_culture.steering.extraction import extract
from interp_culture.steering.sites import SITES, Site, as_site
from interp_culture.steering.vectors import SteeringVectors, norm_matched

SYSTEMS = {"X": ("You trust strangers.", "You are careful."), "Y": ("You reason.", "You pray.")}


@pytest.fixture(scope="module")
def three(few: ScenarioSet) -> ScenarioSet:
    return ScenarioSet(few.scenarios[:2] + few.scenarios[-1:], few.catalogue)


def resid_of(pair: Pair, prompt: Prompt) -> tuple[Tensor, int]:
    """The stream after every block of prompt and answer, and the number of answer tokens."""
    sequence = pair.model.tokenise(prompt)
    tokens = list(sequence.prompt + sequence.answer)
    return torch.stack(forward(pair.plain, tokens)[1]), len(sequence.answer)


def answer_by_hand(tokens: slice) -> Callable[[Pair, Scenario], tuple[Tensor, Tensor]]:
    def read(pair: Pair, scenario: Scenario) -> tuple[Tensor, Tensor]:
        poles = []
        for prompt in continuation_prompts(scenario):
            resid, n = resid_of(pair, prompt)
            poles.append(resid[:, -n:][:, tokens].mean(1))
        return poles[0], poles[1]

    return read


def letter_by_hand(pair: Pair, scenario: Scenario) -> tuple[Tensor, Tensor]:
    first, second = letter_prompts(scenario, labels="1/2")
    ends = {
        (order, letter): resid_of(pair, replace(prompt.prompt, answer=letter))[0][:, -1]
        for order, prompt in (("positive first", first), ("negative first", second))
        for letter in "12"
    }
    positive = (ends["positive first", "1"] + ends["negative first", "2"]) / 2
    negative = (ends["positive first", "2"] + ends["negative first", "1"]) / 2
    return positive, negative


def persona_by_hand(pair: Pair, scenario: Scenario) -> tuple[Tensor, Tensor]:
    user = continuation_prompts(scenario)[0].user
    positive, negative = (
        resid_of(pair, Prompt(user, system=system))[0][:, -1] for system in SYSTEMS[scenario.axis]
    )
    return positive, negative


@pytest.mark.parametrize(
    ("site", "by_hand"),
    [
        (SITES["answer_mean"], answer_by_hand(slice(None))),
        (SITES["answer_last"], answer_by_hand(slice(-1, None))),
        (replace(SITES["letter"], readout=ReadoutFormat("letters", labels="1/2")), letter_by_hand),
        (replace(SITES["prompt_persona"], systems=SYSTEMS), persona_by_hand),
    ],
)
def test_a_site_by_hand(pair: Pair, three: ScenarioSet, site: Site, by_hand: Callable) -> None:
    activations = read_activations(pair.model, three, site=site)
    for row, scenario in enumerate(three):
        positive, negative = by_hand(pair, scenario)
        torch.testing.assert_close(activations.positive[row], positive, atol=2e-4, rtol=2e-4)
        torch.testing.assert_close(activations.negative[row], negative, atol=2e-4, rtol=2e-4)
        # In the letter site the difference is small, since the letters cancel.
        difference = positive - negative
        read = activations.positive[row] - activations.negative[row]
        assert (read - difference).norm() < 0.02 * difference.norm()


@pytest.mark.parametrize("hook_point", HOOK_POINTS)
@pytest.mark.parametrize("off", [(), ("trees",)])
def test_every_hook_point_is_read_as_the_raw_bridge_gives_it(
    tiny: LanguageModel, three: ScenarioSet, hook_point: str, off: tuple[str, ...]
) -> None:
    site = Site("answer", "all", hook_point)
    model = replace(tiny, shortcuts=tiny.shortcuts.without(*off))
    activations = read_activations(model, three, site=site)
    for row, scenario in enumerate(three):
        poles = (activations.positive[row], activations.negative[row])
        for prompt, read in zip(continuation_prompts(scenario), poles, strict=True):
            sequence = tiny.tokenise(prompt)
            expected = raw_means(tiny, sequence.prompt + sequence.answer, hook_point)
            torch.testing.assert_close(read, expected, atol=1e-4, rtol=1e-4)


def raw_means(model: LanguageModel, tokens: tuple[int, ...], hook_point: str) -> Tensor:
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable:
        return lambda activation, hook=None: found.__setitem__(name, activation.flatten(2))

    names = [f"blocks.{layer}.{hook_point}" for layer in range(model.n_layers)]
    with torch.inference_mode():
        hooks = [(name, keep(name)) for name in names]
        model.bridge.run_with_hooks(torch.tensor([tokens]), fwd_hooks=hooks)
    return torch.stack([found[name][0].mean(0) for name in names])


def test_the_letter_itself_cancels(tiny: LanguageModel, three: ScenarioSet) -> None:
    """With both options the same words, the poles differ only in their letters."""
    alike = tuple(s.model_copy(update={"negative": s.positive}) for s in three)
    same = ScenarioSet(alike, three.catalogue)
    both = read_activations(tiny, same, site="letter")
    torch.testing.assert_close(both.positive, both.negative, atol=1e-5, rtol=1e-5)
    one_order = Site("letter", "end", readout=ReadoutFormat("letters", order="random"))
    single = read_activations(tiny, same, site=one_order)
    assert (single.positive - single.negative).norm(dim=-1).min() > 0.1


@pytest.mark.parametrize("name", list(SITES))
def test_vectors_know_their_site_and_have_its_norm(
    tiny: LanguageModel, three: ScenarioSet, name: str
) -> None:
    few = three.filter(axis="X")
    mean = extract(tiny, few, site=name)["X"]
    pca = extract(tiny, few, "pca", site=name)["X"]
    assert mean.provenance["site"] == name
    assert mean.provenance["hook_point"] == "hook_resid_post"
    torch.testing.assert_close(pca.direction.norm(dim=-1), mean.direction.norm(dim=-1))
    last = extract(tiny, few)["X"]
    matched = norm_matched(last, mean)
    torch.testing.assert_close(matched.direction.norm(dim=-1), last.direction.norm(dim=-1))
    assert matched.provenance["site"] == name
    if name != "last":
        cosine = torch.cosine_similarity(mean.direction, last.direction, dim=-1)
        assert cosine.abs().max() < 0.99


def test_edits_act_where_the_vectors_were_read(tiny: LanguageModel, few: ScenarioSet) -> None:
    vectors = extract(tiny, few, site=Site("answer", "end", "hook_attn_out"))["X"]
    assert steer(vectors, [1], 1.0)[0].hook_name == "blocks.1.hook_attn_out"
    assert steer(vectors, [1], 1.0, hook_point="hook_resid_mid")[0].hook_point == "hook_resid_mid"
    given = SteeringVectors.from_tensors("X", vectors.direction)
    assert steer(given, [1], 1.0)[0].hook_point == "hook_resid_post"


def test_a_cache_of_another_site_is_read_again(
    tiny: LanguageModel, three: ScenarioSet, tmp_path: Path
) -> None:
    last = cache_activations(tiny, three, tmp_path / "a")
    answer = cache_activations(tiny, three, tmp_path / "a", "answer_mean")
    assert not torch.equal(last.positive, answer.positive)
    assert torch.equal(answer.positive, read_activations(tiny, three, site="answer_mean").positive)


def test_names_tell_sites_apart() -> None:
    sites: list[Any] = [
        *SITES.values(),
        Site("answer", (0, 3)),
        Site("answer", (0, 4)),
        Site("letter", "end", readout=ReadoutFormat("letters", labels="X/Y")),
        Site("persona", systems=SYSTEMS),
        Site("persona", systems={**SYSTEMS, "X": ("a", "b")}),
        Site(hook_point="hook_mlp_out"),
    ]
    names = [site.name for site in sites]
    assert len(set(names)) == len(names)
    assert names[: len(SITES)] == list(SITES)
    assert sites[-4].name == "letter, labels X/Y"


@pytest.mark.parametrize(
    ("site", "message"),
    [
        (lambda: as_site("first"), "unknown site 'first'; known: last, answer_mean"),
        (lambda: Site("answer", "last"), "both poles have the same tokens up to the answer"),
        (lambda: Site("plain", hook_point="resid"), "unknown hook point 'resid'"),
        (
            lambda: Site("answer", "end", readout=ReadoutFormat("letters")),
            "texts 'answer' take a readout 'continuation', not 'letters'",
        ),
        (
            lambda: Site("plain", readout=ReadoutFormat("letters")),
            "texts 'plain' take no readout, not 'letters'",
        ),
        (lambda: Site("answer", "end", systems=SYSTEMS), "take no systems"),
    ],
)
def test_sites_that_do_not_exist(site: Callable, message: str) -> None:
    with pytest.raises(InputError, match=message):
        site()


def test_texts_without_what_a_site_reads(tiny: LanguageModel, three: ScenarioSet) -> None:
    with pytest.raises(InputError, match="has no token at positions 'answer'"):
        read_activations(tiny, three, site=Site("plain", "answer"))
    with pytest.raises(InputError, match="axis Y: no system messages of its poles"):
        read_activations(tiny, three, site=Site("persona", systems={"X": ("a", "b")}))
