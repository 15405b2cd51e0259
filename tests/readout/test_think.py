"""Answers after an empty think block, and after thoughts, against plain Hugging Face passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import CHAT, Pair, make_pair
from reference import forward
from tokenizers import AddedToken

from interp_culture.engine.generation import generate_tokens
from interp_culture.engine.interventions import Edit
from interp_culture.engine.prompt import Prompt, Thinking
from interp_culture.errors import InputError
from interp_culture.readout import validity as readout_module
from interp_culture.readout.formats import ReadoutFormat
from interp_culture.readout.probing import predicted_runs, read_runs
from interp_culture.readout.prompts import continuation_prompts, letter_prompts
from interp_culture.readout.validity import check_readout
from interp_culture.scenarios.files import load_controls
from interp_culture.scenarios.scenario import ScenarioSet

pytestmark = [
    pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning"),
    pytest.mark.usefixtures("two_controls"),
]
TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content.split('</think>')[-1] }}\n{% endfor %}"
# As Qwen3's: the block is empty where thinking is switched off, and else the model opens it.
QWEN = TURNS + (
    "{% if add_generation_prompt %}<|assistant|>\n"
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
# As the DeepSeek distills': the block is always open.
DEEPSEEK = TURNS + "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
N_THOUGHTS = 6


@pytest.fixture
def two_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    controls = load_controls()
    two = ScenarioSet(controls.scenarios[:2], controls.catalogue)
    monkeypatch.setattr(readout_module, "load_controls", lambda: two)


def thinker(template: str = QWEN) -> Pair:
    pair = make_pair("qwen3", chat_template=template)
    tags = [AddedToken(tag, special=False) for tag in ("<think>", "</think>")]
    pair.model.tokenizer.add_tokens(tags)
    return pair


@pytest.mark.parametrize(
    ("template", "thinking", "end"),
    [
        (QWEN, "template", "<|assistant|>\n<think>\n\n</think>\n\nSo "),
        (QWEN, "closed", "<|assistant|>\n<think>\n\n</think>\n\nSo "),
        (QWEN, "open", "<|assistant|>\n<think>\nSo "),
        (DEEPSEEK, "template", "<|assistant|><think>\nSo "),
        (DEEPSEEK, "closed", "<|assistant|><think>\n\n</think>\n\nSo "),
        (DEEPSEEK, "open", "<|assistant|><think>\nSo "),
        # A template that knows the tags and begins no block.
        (QWEN.replace("is false", "is none"), "closed", "\n<think>\n\n</think>\n\nSo "),
    ],
)
def test_the_block_is_spelled_as_the_template_does(
    template: str, thinking: Thinking, end: str
) -> None:
    prompt = Prompt("Is it late?", prefix="So ", thinking=thinking)
    text = thinker(template).model.render(prompt)
    assert text.startswith("<|user|>Is it late?\n<|assistant|>")
    assert text.endswith(end)
    assert text.count("<think>") == 1


def thoughts_by_hand(
    pair: Pair, ids: list[int], change: dict[int, Callable[[torch.Tensor], torch.Tensor]]
) -> list[int]:
    """Greedy tokens after `ids`, one plain pass each, up to an end."""
    ends = set(pair.model.tokenizer.convert_tokens_to_ids(["</think>", "<eos>"]))
    written: list[int] = []
    for _ in range(N_THOUGHTS):
        token = int(forward(pair.plain, ids + written, change)[0][-1].argmax())
        if token in ends:
            break
        written.append(token)
    return written


@pytest.mark.parametrize("template", [QWEN, DEEPSEEK])
def test_letters_after_thoughts_by_hand(few: ScenarioSet, template: str) -> None:
    pair = thinker(template)
    encode = pair.model.tokenizer.encode
    two = ScenarioSet(few.scenarios[:2], few.catalogue)
    torch.manual_seed(5)
    edit = Edit(1, torch.randn(pair.model.d_model), 3.0)
    form = ReadoutFormat("letters", order="random", prefix="So (", think=N_THOUGHTS)
    table = read_runs(pair.model, two, {"plain": (), "steered": [edit]}, readout=form)
    a, b = encode("A")[0], encode("B")[0]
    begin = "<|assistant|>" + ("\n" if template == QWEN else "") + "<think>\n"
    thoughts = []
    for run, change in (("plain", {}), ("steered", {1: lambda h: h + edit.strength * edit.vector})):
        for scenario in two:
            (asked,) = letter_prompts(scenario, "random")
            ids = encode(f"<|user|>{asked.prompt.user}\n{begin}")
            thoughts.append(thoughts_by_hand(pair, ids, change))
            ids += thoughts[-1] + encode("</think>\n\nSo (")
            logits = forward(pair.plain, ids, change)[0][-1].double()
            expected = float(logits[a] - logits[b]) * (1 if asked.positive == 0 else -1)
            row = table[(table.run == run) & (table.id == scenario.id)].iloc[0]
            assert row.logit_diff == pytest.approx(expected, abs=1e-4)
    assert thoughts[:2] != thoughts[2:]  # the steered model thinks something else
    assert all(thoughts)


def test_options_after_thoughts_by_hand(few: ScenarioSet) -> None:
    pair = thinker()
    encode = pair.model.tokenizer.encode
    one = ScenarioSet(few.scenarios[:1], few.catalogue)
    form = ReadoutFormat("continuation", think=N_THOUGHTS)
    row = read_runs(pair.model, one, {"": ()}, readout=form).iloc[0]
    question, _ = continuation_prompts(few.scenarios[0])
    ids = encode(f"<|user|>{question.user}\n<|assistant|>\n<think>\n")
    ids += thoughts_by_hand(pair, ids, {}) + encode("</think>\n\n")
    tokens = encode(few.scenarios[0].positive)
    logprobs = forward(pair.plain, ids + tokens)[0].double().log_softmax(-1)
    by_token = [float(logprobs[len(ids) - 1 + i, token]) for i, token in enumerate(tokens)]
    assert row.logprob_positive == pytest.approx(sum(by_token) / len(tokens), abs=1e-4)


def test_an_empty_block_is_what_qwen_reads_without_think(few: ScenarioSet) -> None:
    qwen, deepseek = (thinker(template).model for template in (QWEN, DEEPSEEK))
    two = ScenarioSet(few.scenarios[:2], few.catalogue)

    def values(model: Any, think: int | None) -> list[float]:
        form = ReadoutFormat("letters", prefix="", think=think)
        return read_runs(model, two, {"": ()}, readout=form).logit_diff.tolist()

    assert values(qwen, None) == values(qwen, 0)
    assert values(deepseek, None) != values(deepseek, 0)
    by_rule = check_readout(qwen, ReadoutFormat("letters", think=2))
    assert (by_rule.think, by_rule.n, by_rule.n_choice) == (2, 1, 1)


def test_thoughts_end_where_the_model_ends_them() -> None:
    model = thinker().model
    sequence = model.tokenise(Prompt("Is it late?", thinking="open"))
    (free,) = generate_tokens(model, [sequence], {"": ()}, 5, stop=319)[""]
    stop = next(token for token in free if token != free[0])
    (stopped,) = generate_tokens(model, [sequence], {"": ()}, 5, stop=stop)[""]
    assert stopped == free[: free.index(stop)]


def test_what_thoughts_do_not_go_with_is_refused_in_words(few: ScenarioSet) -> None:
    one = ScenarioSet(few.scenarios[:1], few.catalogue)
    form = ReadoutFormat("letters", prefix="", think=3)
    with pytest.raises(InputError, match="tiny-llama has no think tags"):
        read_runs(make_pair("llama", CHAT).model, one, {"": ()}, readout=form)
    with pytest.raises(InputError, match="tiny-qwen3 has no think tags"):
        check_readout(make_pair("qwen3", None).model, ReadoutFormat("continuation", think=0))
    no_token = make_pair("qwen3", QWEN).model
    with pytest.raises(InputError, match=r"</think> is 8 tokens for tiny-qwen3.*give think=0"):
        check_readout(no_token, form)
    model = thinker().model
    last = Edit(1, torch.ones(model.d_model), 1.0, positions="last")
    with pytest.raises(InputError, match=r"positions='last': thoughts are new tokens"):
        read_runs(model, one, {"": [last]}, readout=form)
    with pytest.raises(InputError, match=r"think=3: .* no gradient predicts.*method='exact'"):
        predicted_runs(model, one, {"": [Edit(1, last.vector, 1.0)]}, readout=form)
    with pytest.raises(InputError, match="think is -1"):
        ReadoutFormat("letters", think=-1)
