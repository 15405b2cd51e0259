"""Tokens of prompts and answers under many chat templates and tokenizers."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
import transformers
from conftest import CHAT, SIZES, byte_tokenizer, make_pair
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from interp_culture.engine.context_length import max_length
from interp_culture.engine.generation import generate
from interp_culture.engine.interventions import Edit
from interp_culture.engine.markup import MarkupWarning
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.prompt import Prompt
from interp_culture.engine.token_tree import make_batches
from interp_culture.errors import InputError
from interp_culture.readout.probing import read_runs
from interp_culture.readout.validity import check_readout
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.survey.questionnaire import ask_directly

NO_ROLE = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT
)
DROPS_ROLE = CHAT.replace(
    "{% for m in messages %}", "{% for m in messages if m.role != 'system' %}"
)
TRIMS = CHAT.replace("m.content", "m.content | trim")
ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def with_template(template: str | None, **tokenizer: Any) -> LanguageModel:
    return make_pair("llama", chat_template=template, **tokenizer).model


def metaspace_tokenizer(
    chat_template: str | None, scheme: str = "first"
) -> PreTrainedTokenizerFast:
    """Like Llama 2's: it puts a space mark before the first word, but never before a digit."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    characters = [*map(chr, range(33, 127)), "\u2581", "\n"]
    vocab |= {c: 3 + i for i, c in enumerate(characters)}
    merges = [("\u2581", c) for c in characters if c.isalpha() and c.isascii()]
    vocab |= {a + b: len(vocab) + i for i, (a, b) in enumerate(merges)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement="\u2581", prepend_scheme=scheme, split=False
    )
    tokenizer.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme=scheme, split=False)
    special = [AddedToken(x, normalized=False, special=True) for x in ("<s>", "</s>", "<unk>")]
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.chat_template = chat_template
    return fast


def metaspace_model(chat_template: str | None, scheme: str = "first") -> LanguageModel:
    tokenizer = metaspace_tokenizer(chat_template, scheme)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**{**SIZES, "vocab_size": len(tokenizer)})
    return LanguageModel.wrap(transformers.LlamaForCausalLM(config), tokenizer, "metaspace")


def tokens_of(model: LanguageModel, prompt: Prompt) -> list[str]:
    return model.tokenizer.convert_ids_to_tokens(model.tokenise(prompt).prompt)


# -- system messages ------------------------------------------------------------------------------


@pytest.mark.parametrize("template", [CHAT, NO_ROLE, DROPS_ROLE, None])
@pytest.mark.parametrize("system", ["", "  \n"])
def test_a_blank_system_message_is_none(template: str | None, system: str) -> None:
    model = with_template(template)
    assert model.render(Prompt("hello", system=system)) == model.render(Prompt("hello"))
    assert "hello" in model.render(Prompt("hello", system=system))


def test_white_space_around_a_system_message_keeps_it_in_the_system_role() -> None:
    model = with_template(TRIMS)
    plain = model.render(Prompt("hello", system="You live in India."))
    assert plain == "<|system|>You live in India.\n<|user|>hello\n<|assistant|>"
    assert model.render(Prompt("hello", system="You live in India.\n")) == plain


@pytest.mark.parametrize("template", [NO_ROLE, DROPS_ROLE])
def test_a_system_message_that_the_question_repeats_is_still_rendered(template: str) -> None:
    model = with_template(template)
    assert model.render(Prompt("Be kind. Go?", system="Be kind.")) == (
        "<|user|>Be kind.\n\nBe kind. Go?\n<|assistant|>"
    )


def test_a_template_whose_default_is_the_same_system_message_keeps_it_there() -> None:
    default = "{% if messages[0].role != 'system' %}<|system|>Be kind.\n{% endif %}" + CHAT
    model = with_template(default)
    assert (
        model.render(Prompt("Go?", system="Be kind."))
        == "<|system|>Be kind.\n<|user|>Go?\n<|assistant|>"
    )


# -- templates that do not work -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for m in messages %}{{ m.content }}", "TemplateSyntaxError"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{{ raise_exception('no chat here') }}", "no chat here"),
        ("<|assistant|>", "leaves out the user's message"),
        ("", ""),
    ],
)
def test_a_broken_template_is_named(template: str, why: str) -> None:
    model = with_template(template)
    if not template:  # an empty template counts as none
        assert model.render(Prompt("hello")) == "hello\nAnswer:"
        return
    with pytest.raises(InputError, match=f"chat template of tiny-llama does not work .*{why}"):
        model.tokenise(Prompt("hello"))


def test_templates_that_need_a_list_of_parts_get_one() -> None:
    parts = CHAT.replace("{{ m.content }}", "{% for p in m.content %}{{ p.text }}{% endfor %}|")
    model = with_template(parts)
    assert model.render(Prompt("hello", system="Be kind.")) == (
        "<|system|>Be kind.|\n<|user|>hello|\n<|assistant|>"
    )


# -- answers as they follow the prompt ------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["first", "always", "never"])
def test_base_models_get_the_tokens_of_their_tokenizer(scheme: str) -> None:
    model = metaspace_model(None, scheme)
    text = model.render(Prompt("Hello there"))
    assert list(model.tokenise(Prompt("Hello there")).prompt) == model.tokenizer(text).input_ids
    assert (
        list(model.tokenise_text("Hello there").prompt) == model.tokenizer("Hello there").input_ids
    )
    if scheme == "first":
        assert tokens_of(model, Prompt("Hello there"))[:2] == ["<s>", "\u2581H"]


def test_an_end_of_text_that_the_tokenizer_adds_is_left_out() -> None:
    model = metaspace_model(None)
    model.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    assert model.tokenizer("Hi").input_ids[-1] == 2
    assert list(model.tokenise_text("Hi").prompt) == model.tokenizer("Hi").input_ids[:-1]


def test_options_of_base_models_are_located_after_the_bos() -> None:
    model = metaspace_model(None)
    prompt = Prompt("Go home or stay", options=((3, 7), (11, 15)))
    sequence = model.tokenise(prompt)
    tokens = model.tokenizer.convert_ids_to_tokens(sequence.prompt)
    assert sequence.options is not None
    words = ["".join(tokens[start:stop]) for start, stop in sequence.options]
    assert words == ["\u2581home", "\u2581stay"]
    (batch,) = make_batches([[sequence]], pad=0, batch_tokens=1000)
    assert int(Edit(0, torch.ones(2), 1.0, positions="options").where(batch).sum()) == 8


def test_answers_are_encoded_as_they_follow_the_prompt() -> None:
    chat = metaspace_model(ZEPHYR)
    base = metaspace_model(None)
    for model in (chat, base):
        answers = model.answers_after(Prompt("Well?"), ["A", " A"])
        tokens = [model.tokenizer.convert_ids_to_tokens(answer) for answer in answers]
        assert tokens == [["A"], ["\u2581A"]]
    answer = chat.tokenise(Prompt("Well?", "Go")).answer
    assert chat.tokenizer.convert_ids_to_tokens(answer) == ["G", "o"]
    answer = base.tokenise(Prompt("Well?", "Go")).answer
    assert base.tokenizer.convert_ids_to_tokens(answer) == ["\u2581G", "o"]


def test_an_answer_that_would_merge_with_the_prompt_is_encoded_by_itself() -> None:
    """Here the tokenizer has ":G", which would replace the prompt's last token ":"."""
    tokenizer = metaspace_tokenizer(None)
    vocab = {**tokenizer.get_vocab(), ":G": 300}
    merges = [(":", "G"), ("\u2581", "G")]
    tokenizer.backend_tokenizer.model = models.BPE(vocab=vocab, merges=merges, unk_token="<unk>")
    model = metaspace_model(None)
    model.tokenizer = tokenizer
    assert tokenizer.convert_ids_to_tokens(tokenizer("r:Go").input_ids)[-2:] == [":G", "o"]
    assert tokens_of(model, Prompt("Well?"))[-1] == ":"
    (answer,) = model.answers_after(Prompt("Well?"), ["Go"])
    # At the beginning of a text it would be "\u2581G".
    assert tokenizer.convert_ids_to_tokens(answer) == ["G", "o"]


@pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
def test_letters_and_direct_answers_are_read_where_the_model_writes_them(few: ScenarioSet) -> None:
    """The model answers with "A" (the largest logit), "B" or "1" right after the newline."""
    tokenizer = metaspace_tokenizer(ZEPHYR)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**{**SIZES, "vocab_size": len(tokenizer)})
    )
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in ("A", "B", "1", "\n")}
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        end = model.model.norm(model.model.embed_tokens.weight[ids["\n"]])
        model.lm_head.weight.zero_()
        for token, logit in (("A", 11.0), ("B", 10.0), ("1", 10.5)):
            model.lm_head.weight[ids[token]] = end / end.pow(2).sum() * logit
    hooked = LanguageModel.wrap(copy.deepcopy(model), tokenizer, "answers")
    prompt = hooked.tokenise(Prompt("Well?")).prompt
    p = model.eval()(torch.tensor([prompt])).logits[0, -1].softmax(-1).detach()
    table = read_runs(hooked, few, {"": ()}, readout="letters")
    assert table.letter_mass.to_numpy() == pytest.approx(float(p[ids["A"]] + p[ids["B"]]), abs=1e-4)
    assert table.position_bias.to_numpy() == pytest.approx(1.0, abs=1e-3)
    assert check_readout(hooked, "letters").letters == "A"
    off_answers = ask_directly(hooked).items.set_index("item").off_answers
    assert off_answers["Y01"] == pytest.approx(1 - float(p[ids["1"]]), abs=1e-4)


# -- control tokens in a user's words -------------------------------------------------------------


@pytest.mark.parametrize("template", [ZEPHYR, None])
def test_markup_in_data_is_read_as_plain_text(template: str | None) -> None:
    model = metaspace_model(template)
    clean = Prompt("He is old.", "ok")
    marked = Prompt("He is <s>old</s>.", "o</s>k", system="a<unk>b")
    with pytest.warns(
        MarkupWarning, match="control tokens .* stand in 1 of 2 texts .* plain text there: two"
    ):
        one, two = model.tokenise_all([clean, marked], ["one", "two"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.tokenise(clean) == one
        unmarked = model.tokenise(Prompt("x", system="y")).prompt
    control = {0, 1, 2}
    assert [t for t in two.prompt if t in control] == [t for t in unmarked if t in control]
    assert not control & set(two.answer)
    characters = "".join(model.tokenizer.convert_ids_to_tokens(two.prompt)).replace("\u2581", " ")
    assert "He is <s>old</s>." in characters
    assert "a<unk>b" in characters
    assert "".join(model.tokenizer.convert_ids_to_tokens(two.answer)).endswith("o</s>k")


def test_markup_in_plain_text_is_read_as_plain_text() -> None:
    model = metaspace_model(None)
    with pytest.warns(MarkupWarning):
        tokens = model.tokenise_text("</s> is a tag").prompt
    assert [t for t in tokens if t < 3] == [1]
    assert model.tokenizer.convert_ids_to_tokens(tokens)[1:5] == ["\u2581", "<", "/", "s"]


def test_options_and_answers_are_located_in_a_text_with_markup() -> None:
    model = metaspace_model(ZEPHYR)
    prompt = Prompt("Go <s>home or stay", options=((3, 10), (14, 18)))
    with pytest.warns(MarkupWarning):
        sequence = model.tokenise(prompt)
    (letter,) = model.answers_after(prompt, ["A"])
    tokens = model.tokenizer.convert_ids_to_tokens(sequence.prompt)
    assert sequence.options is not None
    assert ["".join(tokens[a:b]) for a, b in sequence.options] == ["<s>home", "\u2581stay"]
    assert model.tokenizer.convert_ids_to_tokens(letter) == ["A"]


def test_markup_of_a_byte_level_tokenizer() -> None:
    model = make_pair("llama").model
    model.tokenizer.add_tokens(
        [AddedToken("<think>", special=False), AddedToken("<|user|>", special=True)]
    )
    with pytest.warns(MarkupWarning, match=r"\(<\|user\|>, <think>\)"):
        tokens = model.tokenise(Prompt("a <|user|> says <think>é")).prompt
    added = model.tokenizer.convert_tokens_to_ids(["<think>", "<|user|>"])
    assert [t for t in tokens if t in added] == [added[1]]  # the one of the template
    assert model.tokenizer.decode(tokens) == "<|user|>a <|user|> says <think>é\n<|assistant|>"


# -- what does not fit ----------------------------------------------------------------------------


def test_a_pad_token_without_a_row_in_the_embedding_is_not_used(few: ScenarioSet) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    model = make_pair("llama").model
    model.text_config.vocab_size = tokenizer.pad_token_id  # resizing would have changed it
    model.tokenizer = tokenizer
    assert model.pad_token == tokenizer.eos_token_id
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_runs(model, few, {"": ()}, readout="continuation")
    assert len(generate(model, [Prompt("hi"), Prompt("hello there")], 2)) == 2


def test_a_token_without_a_row_is_named() -> None:
    model = make_pair("llama").model
    model.tokenizer.add_tokens(["zebra"])
    model.text_config.vocab_size = model.tokenizer.convert_tokens_to_ids("zebra")
    with pytest.raises(
        InputError, match=r"prompt 0: token \d+ has no row in tiny-llama's embedding of \d+"
    ):
        model.tokenise(Prompt("a zebra"))


def test_a_prompt_beyond_the_context_is_named_with_both_lengths(few: ScenarioSet) -> None:
    model = make_pair("llama").model
    model.text_config.max_position_embeddings = 100
    assert model.max_length == 100
    with pytest.raises(
        InputError, match=r"^scenario [\w-]+: \d+ tokens do not fit .* context of 100"
    ):
        read_runs(model, few, {"": ()}, readout="letters")
    length = len(model.tokenise(Prompt("")).prompt)
    model.tokenise_all([Prompt("")], new_tokens=100 - length)
    with pytest.raises(InputError, match=r"prompt 0: 101 tokens, \d+ of them new, do not fit"):
        model.tokenise_all([Prompt("")], new_tokens=101 - length)
    with pytest.raises(InputError, match=r"the second: 101 tokens do not fit .* context of 100"):
        model.tokenise_texts(["a", "a" * 101], ["the first", "the second"])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (transformers.GPT2Config(n_positions=128), 128),
        (transformers.MptConfig(max_seq_len=96), 96),
        (transformers.BloomConfig(), None),
        (transformers.MistralConfig(sliding_window=16, max_position_embeddings=64), 64),
        (
            transformers.LlamaConfig(
                max_position_embeddings=64,
                rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
            ),
            128,
        ),
    ],
)
def test_contexts_by_config(config: Any, expected: int | None) -> None:
    assert max_length(config) == expected
