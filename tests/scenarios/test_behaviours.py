"""A/B behaviour files: their records, every fault, and a whole run on axes from a file."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import error_without_type_checks

from interp_culture.cli import main
from interp_culture.engine.model import LanguageModel
from interp_culture.errors import InputError
from interp_culture.readout.probing import probe
from interp_culture.readout.prompts import contrastive_texts, letter_prompts
from interp_culture.scenarios.data_faults import DataWarning
from interp_culture.scenarios.files import load_scenarios
from interp_culture.scenarios.quality import check_quality
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.stats import bootstrap_weights
from interp_culture.steering.extraction import extract

FERRY = "The last ferry leaves in ten minutes.\nDo you wait for your friend?"
GOOD = {
    "question": f"{FERRY}\n\nChoices:\n (A) No, I board\n (B) Yes, I wait",
    "answer_matching_behavior": "(B)",
    "answer_not_matching_behavior": " (A)",
}


pytestmark = pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")


def record(question: str, matching: str = "(A)", other: str = "(B)") -> dict[str, str]:
    return {
        "question": question,
        "answer_matching_behavior": matching,
        "answer_not_matching_behavior": other,
    }


def completions(
    prompt: str, positive: str, negative: str, other: str | None = None
) -> dict[str, Any]:
    """A record of steering-bench."""
    return {
        "positive": {"prompt": prompt, "response": positive},
        "negative": {"prompt": other or prompt, "response": negative},
        "meta": None,
    }


def _swapped(record: dict[str, str]) -> tuple[str, str]:
    """The answers of a record after its two choices have been swapped."""
    other = {"(A)": "(B)", "(B)": "(A)"}
    return other[record["answer_matching_behavior"]], other[record["answer_not_matching_behavior"]]


@pytest.fixture
def write_list(tmp_path: Path) -> Any:
    def write(*records: Any, name: str = "patience.json") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(list(records), indent=1), encoding="utf-8")
        return path

    return write


def numbered(topic: str, n: int, flip: bool) -> list[dict[str, str]]:
    """n questions on a topic; the matching letter alternates, beginning with (B) if `flip`."""
    letters = [("(A)", "(B)") if (i % 2 == 0) != flip else ("(B)", "(A)") for i in range(n)]
    return [record(f"{topic} {i}?\n(A) Take {i}\n(B) Leave {i}", *letters[i]) for i in range(n)]


def test_a_record_becomes_a_scenario(write_list: Any) -> None:
    scenarios = load_scenarios(write_list(GOOD))
    assert scenarios.scenarios[0].model_dump() == {
        "id": "patience-001",
        "axis": "patience",
        "item": "patience",
        "domain": "all",
        "situation": FERRY,
        "positive": "Yes, I wait",
        "negative": "No, I board",
    }
    assert scenarios.axes == ["patience"]
    assert scenarios.catalogue.axes["patience"].label == "not patience → patience"
    assert scenarios.catalogue.items["patience"].axis == "patience"
    assert scenarios.catalogue.domains == ["all"]


@pytest.mark.parametrize(
    ("question", "situation", "first", "second"),
    [
        ("Go?\n(A) Yes\n(B) No", "Go?", "Yes", "No"),
        ("Go?\n (A) Yes / (B) No", "Go?", "Yes", "No"),
        ("Go?\nChoices: (A) Yes / (B) No", "Go?", "Yes", "No"),
        ("\nGo?\n\nChoices: \n (A)  Yes  \n (B)  No   ", "Go?", "Yes", "No"),
        ("Go?\n(B) No\n(A) Yes", "Go?", "Yes", "No"),
        (
            "Go?\n(A) Yes,\nright now (or B)\n\n(B) No,\nnever",
            "Go?",
            "Yes,\nright now (or B)",
            "No,\nnever",
        ),
        (
            "Is (A) or (B) first?\nChoices:\n(A) It is (A)\n(B) It is (B)",
            "Is (A) or (B) first?",
            "It is (A)",
            "It is (B)",
        ),
        ("Go?\n\nChoices:\n (A) Yes\n (B) No\n\nAnswer:", "Go?", "Yes", "No"),
        ("Go?\n(A) Yes\n(B) No\n\nAnswer: (", "Go?", "Yes", "No"),
        ("Choices:\nare hard. Go?\n(A) Yes\n(B) No", "Choices:\nare hard. Go?", "Yes", "No"),
    ],
)
def test_question_and_choices_are_separated(
    write_list: Any, question: str, situation: str, first: str, second: str
) -> None:
    scenario = load_scenarios(write_list(record(question))).scenarios[0]
    assert (scenario.situation, scenario.positive, scenario.negative) == (situation, first, second)


def test_lines_and_lists_give_the_same_scenarios(write_list: Any, write_lines: Any) -> None:
    records = numbered("Pear", 4, flip=False)
    from_list = load_scenarios(write_list(*records)).scenarios
    assert load_scenarios(write_lines(*records, name="patience.jsonl")).scenarios == from_list
    assert load_scenarios(write_list(*records, name="patience.jsonl")).scenarios == from_list
    assert [s.positive for s in from_list] == ["Take 0", "Leave 1", "Take 2", "Leave 3"]


def test_unknown_fields_are_ignored(write_list: Any) -> None:
    assert (
        load_scenarios(write_list({**GOOD, "source": "mine"})).scenarios
        == load_scenarios(write_list(GOOD)).scenarios
    )


def test_a_byte_order_mark_does_not_hide_that_a_file_is_a_list(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_bytes(b"\xef\xbb\xbf[{")
    (tmp_path / "kind.json").write_text(json.dumps([GOOD]), encoding="utf-8")
    with pytest.warns(DataWarning):
        assert [s.axis for s in load_scenarios(tmp_path)] == ["kind"]


def test_each_file_of_a_folder_is_an_axis(
    write_list: Any, write_lines: Any, tmp_path: Path
) -> None:
    write_list(*numbered("Pear", 3, flip=False), name="thrift.json")
    write_list(*numbered("Pear", 2, flip=True), name="haste.json")
    write_lines(*numbered("Plum", 2, flip=True), name="pride.jsonl")
    scenarios = load_scenarios(tmp_path)
    sizes = {"haste": 2, "pride": 2, "thrift": 3}
    ids = [f"{name}-{number:03d}" for name, n in sizes.items() for number in range(1, n + 1)]
    assert [s.id for s in scenarios] == ids
    assert scenarios.axes == ["haste", "pride", "thrift"]
    assert scenarios.catalogue.name == tmp_path.name


def test_a_json_file_next_to_scenarios_is_ignored(write_list: Any, tmp_path: Path) -> None:
    write_list({"written": "today"}, name="manifest.json")
    scenario = {
        "id": "a",
        "axis": "F",
        "item": "F1",
        "domain": "mail",
        "situation": "s",
        "positive": "p",
        "negative": "n",
    }
    (tmp_path / "mine.jsonl").write_text(json.dumps(scenario))
    (tmp_path / "axes.yaml").write_text(
        "name: tone\naxes:\n  F: {negative: casual, positive: formal}\n"
        "domains: [mail]\nitems:\n  F1: {axis: F, label: greeting}\n"
    )
    assert load_scenarios(tmp_path).axes == ["F"]


FAULTS = [
    (
        record("Go or stay?"),
        r"field 'question': no lettered choices in 'Go or stay\?'; begin a line",
    ),
    (record("Go?\n(A) Yes"), r"field 'question': no lettered choices"),
    (record("Which is it: (A) tea or (B) coffee?"), r"field 'question': no lettered choices"),
    (
        record("Go?\n(A) Yes\n(A) No", "(A)", "(A)"),
        r"field 'question': \(A\), \(A\); give each choice a different label",
    ),
    (
        record("Go?\n(A) a\n(B) b\n(A) c\n(B) d"),
        r"\(A\), \(B\), \(A\), \(B\); give each choice a different label",
    ),
    (
        record("Go?\n\nChoices:\n(A) a\n(B) b\n\nStay?\n\nChoices:\n(A) c\n(B) d"),
        r"\(A\), \(B\), \(A\), \(B\); give each choice a different label",
    ),
    (record("Choices\n (A) Yes\n (B) No"), r"field 'question': no text before the choices"),
    (record("Options:\n (A)\n (B)"), r"field 'question': choice \(A\), \(B\) is empty"),
    (record("Go?\n(A)\n(B) No"), r"field 'question': choice \(A\) is empty; write its text"),
    (record("Choices:\n(A) Yes\n(B) No"), r"field 'question': no text before the choices"),
    (
        record("Go?\n(A) Yes\n\nof course\n(B) No"),
        r"a blank line within \(A\), \(B\); write each in one paragraph",
    ),
    (
        record("Go?\n(A) Yes\n(B) Yes"),
        r"two of \(A\), \(B\) are the same text; write different texts",
    ),
    (record("Go?\n(A) Caf\u00e9\n(B) cafe\u0301\u200b"), r"two of \(A\), \(B\) are the same text"),
    (
        record("Go?", "Yes", " yes"),
        r"' yes'|'Yes' is the text of both poles; give two different texts",
    ),
    (
        record("Go?\n(A) Yes\n(B) No", "(A) Maybe"),
        r"'answer_matching_behavior': '\(A\) Maybe' not among the choices",
    ),
    (
        record("Go?\n(A) Yes\n(B) No", "(A)", "(C)"),
        r"'answer_not_matching_behavior': '\(C\)' not among the choices",
    ),
    (
        record("Go?\n(A) Yes\n(B) No", "(B)", "(B)"),
        r"both answers are \(B\); give two different labels",
    ),
    (
        record("Go?\n(A) Yes\n(B) No", "  "),
        r"field 'answer_matching_behavior': empty text; write one",
    ),
    ({**GOOD, "question": 7}, r"field 'question': .* got int '7'"),
    (
        {k: v for k, v in GOOD.items() if k != "answer_matching_behavior"},
        r"'answer_matching_behavior': missing; add it",
    ),
    ("Go?", r"field 'record': .* got str 'Go\?'"),
    (
        completions("Go?\n(A) Yes\n(B) No", "(A)", "(B)", other="Stay?\n(A) Yes\n(B) No"),
        r"'negative.prompt' differ",
    ),
    ({"positive": "One text."}, r"field 'negative': missing"),
]


@pytest.mark.parametrize(("faulty", "message"), FAULTS)
def test_faults_are_named(write_list: Any, write_lines: Any, faulty: Any, message: str) -> None:
    with pytest.raises(
        InputError,
        match=rf"1 problem in the data:\n.* \(1\):\n.*patience\.json: record 2: .*{message}",
    ):
        load_scenarios(write_list(GOOD, faulty), faults="refuse")
    if isinstance(faulty, dict):
        with pytest.raises(InputError, match=rf"pride\.jsonl:2: .*{message}"):
            load_scenarios(write_lines(GOOD, faulty, name="pride.jsonl"), faults="refuse")


@pytest.mark.parametrize(("faulty", "message"), FAULTS)
def test_a_faulty_record_is_left_out_with_a_warning(
    write_list: Any, faulty: Any, message: str
) -> None:
    with pytest.warns(
        DataWarning, match=rf"^1 record left out, .*patience\.json: record 2 \(.*{message}"
    ):
        scenarios = load_scenarios(write_list(GOOD, faulty, record("Stay?\n(A) Yes\n(B) No")))
    assert [s.id for s in scenarios] == ["patience-001", "patience-003"]


def test_faults_are_listed_by_kind_with_the_first_three(write_list: Any, tmp_path: Path) -> None:
    write_list(
        GOOD,
        *[record(f"Go or stay {i}?") for i in range(5)],
        {**GOOD, "question": 7},
        name="haste.json",
    )
    write_list(record("Go?\n(A) a\n(B) b", "(C)", "(D)"), name="thrift.json")
    with pytest.raises(InputError) as caught:
        load_scenarios(tmp_path, faults="refuse")
    lines = [line.strip().rpartition("/")[2] for line in str(caught.value).splitlines()]
    assert lines[0] == "7 problems in the data:"
    fix = "begin a line with (A) and another with (B)"
    listed = [
        f"haste.json: record {i + 2}: field 'question': "
        f"no lettered choices in 'Go or stay {i}?'; {fix}"
        for i in range(3)
    ]
    assert lines[1:6] == ["no lettered choices found (5):", *listed, "... and 2 more"]
    with pytest.warns(DataWarning) as warned:
        assert len(load_scenarios(tmp_path)) == 1
    warnings_text = [str(w.message) for w in warned]
    assert len(warnings_text) == 3
    assert warnings_text[0].startswith("5 records left out, no lettered choices found: ")
    assert "haste.json: record 4 and 2 more (" in warnings_text[0]


def test_a_file_without_readable_records_and_an_unknown_policy_are_refused(write_list: Any) -> None:
    with pytest.raises(InputError, match="2 problems in the data"):
        load_scenarios(write_list(record("Go?"), record("Stay?")))
    code = "import interp_culture as ic; ic.load_scenarios(None, 'ignore')"
    assert "unknown faults 'ignore'; known: skip, refuse" in error_without_type_checks(code)


def test_a_file_without_faults_gives_no_warning(write_list: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_scenarios(write_list(GOOD))


@pytest.mark.parametrize("faults", ["skip", "refuse"])
def test_an_exact_repeat_is_read_once(write_list: Any, faults: Any) -> None:
    spelled = {**GOOD, "answer_matching_behavior": " (B) ", "question": GOOD["question"].upper()}
    with pytest.warns(
        DataWarning,
        match=r"^2 records read once, an exact repeat: .*record 3, .*record 4 \(.*record 1\)",
    ):
        scenarios = load_scenarios(
            write_list(GOOD, record("Go?\n(A) Yes\n(B) No"), GOOD, spelled), faults
        )
    assert [s.id for s in scenarios] == ["patience-001", "patience-002"]


def test_swapped_choices_are_kept_and_stay_in_one_half(write_list: Any) -> None:
    records = numbered("Do you keep the receipt of day", 9, flip=False)
    twins = []
    for i, original in enumerate(records[:4]):
        question = f"Do you keep the receipt of day {i}?\n(A) Leave {i}\n(B) Take {i}"
        twins.append(record(question, *_swapped(original)))
    scenarios = load_scenarios(write_list(*records, *twins))
    assert len(scenarios) == 13
    for seed in range(20):
        train, test = scenarios.split(seed)
        assert not {s.situation for s in train} & {s.situation for s in test}
        assert abs(len(train) - len(test)) <= 2


def test_opposite_answers_to_one_question_are_left_out(write_list: Any) -> None:
    twice = record("Go?\nChoices:\n (A) Yes\n (B) No", "(B)", "(A)")
    with pytest.warns(
        DataWarning, match=r"an earlier record says the opposite: .*record 3 \(.*'Go\?' .*record 1"
    ):
        scenarios = load_scenarios(write_list(record("Go?\n(A) Yes\n(B) No"), GOOD, twice))
    assert [s.id for s in scenarios] == ["patience-001", "patience-002"]


def yes_no(statement: str, matching: str) -> dict[str, Any]:
    """A record of the model-written persona files: answers in words, with a leading space."""
    question = f'Is the following statement something you would say?\n"{statement}"'
    other = " No" if matching == " Yes" else " Yes"
    return {**record(question, matching, other), "statement": statement, "label_confidence": 0.97}


def test_yes_no_questions_have_their_answers_as_options(
    write_lines: Any, tiny: LanguageModel
) -> None:
    statements = [
        "I plan each trip by the hour",
        "A list is a cage",
        "Two alarms are better than one",
        "Maps spoil it",
    ]
    lines = [yes_no(s, " Yes" if i % 2 == 0 else " No") for i, s in enumerate(statements)]
    scenarios = load_scenarios(write_lines(*lines, name="planner.jsonl"), faults="refuse")
    assert [(s.positive, s.negative) for s in scenarios] == [("Yes", "No"), ("No", "Yes")] * 2
    assert scenarios.items == ["planner"]
    first, second = (p.prompt.user for p in letter_prompts(scenarios.scenarios[0]))
    assert first == f"{lines[0]['question']}\n\nOption A: Yes\nOption B: No\n\nAnswer with A or B."
    assert second == f"{lines[0]['question']}\n\nOption A: No\nOption B: Yes\n\nAnswer with A or B."
    table = probe(tiny, scenarios, readout="continuation")
    assert table.logit_diff.abs().min() > 0


@pytest.mark.parametrize("cue", ["\n\nAnswer:", "\n\nAssistant: (", "\nAnswer: "])
def test_a_yes_no_question_ends_before_the_answer_begins(write_list: Any, cue: str) -> None:
    (scenario,) = load_scenarios(
        write_list(record(f"Is tea better cold?{cue}", " Yes", " No")), faults="refuse"
    )
    assert scenario.situation == "Is tea better cold?"


def test_of_many_choices_the_two_that_are_named_are_the_poles(write_list: Any) -> None:
    situation = "The shop is out of your paint. What now?"
    question = f"{situation}\n\nChoices:\n (A) Another blue\n (B) I wait\n (C) I mix it"
    (scenario,) = load_scenarios(write_list(record(question, " (C)", " (A)")), faults="refuse")
    poles = (scenario.positive, scenario.negative)
    assert scenario.situation == situation
    assert poles == ("I mix it", "Another blue")
    assert scenario.choices == ("Another blue", "I wait", "I mix it")


def test_poles_among_many_choices_are_read_with_their_sign(
    write_list: Any, tiny: LanguageModel
) -> None:
    choices = " (A) Another blue\n (B) I wait\n (C) I mix it\n (D) I ask around"
    question = f"No paint of your colour. What now?\n{choices}"
    forward = probe(tiny, load_scenarios(write_list(record(question, "(D)", "(B)"))))
    reverse = probe(tiny, load_scenarios(write_list(record(question, "(B)", "(D)"))))
    assert forward.logit_diff[0] == pytest.approx(-reverse.logit_diff[0], abs=1e-5)
    assert abs(forward.logit_diff[0]) > 1e-4
    assert forward.position_bias[0] == pytest.approx(reverse.position_bias[0], abs=1e-5)


def test_the_first_of_a_list_of_answers_is_used(write_list: Any) -> None:
    listed = {
        **record("Hello, I am Ann. Is it raining?\n (A) no\n (B) yes\n\nAnswer:"),
        "answer_not_matching_behavior": [" (B)"],
    }
    (scenario,) = load_scenarios(write_list(listed), faults="refuse")
    assert (scenario.positive, scenario.negative, scenario.choices) == ("no", "yes", ())


def test_the_first_release_has_other_names_for_the_fields(write_lines: Any) -> None:
    first = {
        "prompt": "Late?\n (A) Yes\n (B) No\n\nAnswer:",
        "corrects": [" (B)"],
        "incorrects": [" (A)"],
    }
    (scenario,) = load_scenarios(write_lines(first, name="night.jsonl"), faults="refuse")
    assert (scenario.situation, scenario.positive, scenario.negative) == ("Late?", "No", "Yes")


MARKERS = [
    "{A}) Yes\n{B}) No",
    "{A}. Yes\n{B}. No",
    "{A}: Yes\n{B}: No",
    "({A}):  Yes\n({B}):  No",
    "({A})Yes\n({B})No",
    "\uff08{A}\uff09Yes\n\uff08{B}\uff09No",
    "[{A}] Yes\n[{B}] No",
    "Option {A}: Yes\nOption {B}: No",
    "Choices: ({A}) Yes ({B}) No",
    "({A}) Yes, ({B}) No",
    "({A}) Yes / ({B}) No",
    "{A}) Yes {B}) No",
    "answer choices:\n ({A}) Yes\n ({B}) No",
    "----\nChoices:\n\n({A}) Yes\n\n({B}) No",
    "({A}) Yes\nor\n({B}) No",
    "({A}) Yes or\n({B}) No)",
]


@pytest.mark.parametrize("written", MARKERS)
@pytest.mark.parametrize("labels", ["AB", "ab", "12"])
@pytest.mark.parametrize("answer", ["({})", " ({})", "{}", "{})", "{}."])
def test_markers_and_answers_in_their_usual_spellings(
    write_list: Any, written: str, labels: str, answer: str
) -> None:
    question = "Is it late?\n" + written.format(A=labels[0], B=labels[1])
    path = write_list(record(question, answer.format(labels[0]), answer.format(labels[1])))
    (scenario,) = load_scenarios(path, faults="refuse")
    assert (scenario.situation, scenario.positive, scenario.negative) == (
        "Is it late?",
        "Yes",
        "No",
    )


@pytest.mark.parametrize(
    ("matching", "other"), [("(A) Yes", "(B) No"), ("Yes", "No"), (" yes", "NO"), ("A. Yes", "B")]
)
def test_answers_by_the_words_of_a_choice(write_list: Any, matching: str, other: str) -> None:
    (scenario,) = load_scenarios(
        write_list(record("Late?\n(A) Yes\n(B) No", matching, other)), faults="refuse"
    )
    assert (scenario.situation, scenario.positive, scenario.negative) == ("Late?", "Yes", "No")


@pytest.mark.parametrize(
    "behind",
    [
        "\n\nAnswer:",
        "\nAnswer: (",
        "\n\nAssistant: (",
        "\n\nI think the better option is",
        "\n\nPlease answer honestly.",
        "\nPlease answer honestly.",
        "\n\nHuman: Choose.\n\nAssistant:",
        "\nMy choice is (",
        " (",
        "\nThe answer is:",
    ],
)
def test_text_after_the_last_choice_is_not_part_of_it(write_list: Any, behind: str) -> None:
    (scenario,) = load_scenarios(
        write_list(record(f"Shall we go?\n (A) Yes\n (B) No{behind}")), faults="refuse"
    )
    assert (scenario.positive, scenario.negative) == ("Yes", "No")


@pytest.mark.parametrize(
    "question",
    [
        "Ann says:\nA: Hello there.\nB: Go away.\nIs Ann polite?",
        "The rules are 1. No noise 2. No dogs. Do you obey?",
        "Do you take (A) the bus or (B) the tram? Say whether you agree.",
    ],
)
def test_lists_within_a_yes_no_question_are_not_choices(write_list: Any, question: str) -> None:
    (scenario,) = load_scenarios(write_list(record(question, " Yes", " No")), faults="refuse")
    assert (scenario.situation, scenario.positive, scenario.negative) == (question, "Yes", "No")


def test_a_list_in_the_question_is_not_the_list_of_choices(write_list: Any) -> None:
    situation = "Two boxes:\n(A) holds $10\n(B) holds $99 or nothing"
    question = f"{situation}\n\nChoices:\n (A) Only the second\n (B) Both"
    (scenario,) = load_scenarios(write_list(record(question)), faults="refuse")
    assert scenario.situation == situation
    assert (scenario.positive, scenario.negative) == ("Only the second", "Both")


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_prompts_with_two_responses(write_list: Any, ending: str) -> None:
    lettered = completions(
        'Would you say this?\n"I label each box"\n\nChoices:\n(A):  No\n(B):  Yes', "(B)", "(A)"
    )
    in_words = completions('Would you say this?\n"Boxes bore me"', " No", " Yes")
    scenarios = load_scenarios(
        write_list(lettered, in_words, name=f"labels{ending}"), faults="refuse"
    )
    assert [(s.situation, s.positive, s.negative) for s in scenarios] == [
        ('Would you say this?\n"I label each box"', "Yes", "No"),
        ('Would you say this?\n"Boxes bore me"', "No", "Yes"),
    ]


PAIRS = [
    {"positive": "I folded the map with care.", "negative": "I stuffed the map away."},
    {"positive": "She wrote it down twice.", "negative": "She trusted her memory."},
]


def test_bare_pairs_give_vectors_and_no_readout(write_lines: Any, tiny: LanguageModel) -> None:
    scenarios = load_scenarios(write_lines(*PAIRS, name="careful.jsonl"), faults="refuse")
    assert [contrastive_texts(s) for s in scenarios] == [
        (p["positive"], p["negative"]) for p in PAIRS
    ]
    assert extract(tiny, scenarios)["careful"].direction.abs().max() > 0
    for readout in ("letters", "continuation"):
        with pytest.raises(
            InputError, match=r"scenario careful-001: a bare pair of texts has no question"
        ):
            probe(tiny, scenarios, readout=readout)


def test_a_list_that_was_cut_off_is_read_up_to_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "patience.json"
    path.write_text(json.dumps([GOOD, record("Go?\n(A) Yes\n(B) No")])[:-20], encoding="utf-8")
    with pytest.warns(DataWarning, match=r"1 record left out, invalid JSON: .*record 2 \("):
        assert [s.id for s in load_scenarios(path)] == ["patience-001"]


def test_lines_in_a_json_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "patience.json"
    path.write_text("\n".join(map(json.dumps, numbered("Pear", 2, flip=False))), encoding="utf-8")
    assert len(load_scenarios(path, faults="refuse")) == 2


def test_the_same_question_with_other_choices_is_kept(write_list: Any) -> None:
    assert (
        len(
            load_scenarios(
                write_list(record("Go?\n(A) Yes\n(B) No"), record("Go?\n(A) Yes\n(B) Later"))
            )
        )
        == 2
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", r"patience\.json: contains no record"),
        (b"", r"patience\.json: contains no record"),
        (
            b'[{"question": "Go?"},\n {"question"',
            r"invalid JSON \(line 2, column 13: .* cut off",
        ),
        (b'[{"question": "\xff"}]', r"patience\.json: byte 16 is not UTF-8"),
        (
            b'{"question": "Go?"}',
            r"patience\.json: a \.json file is a list of records; name it \.jsonl",
        ),
        (
            b'[{"question": "Go?"}, {"question": "Stay?"}]',
            r"1 problem .*\n.*\n.*open-ended questions have no two",
        ),
        (
            b'["Go?", 3]',
            r"2 problems .*\n.*\(2\):\n.*record 1: field 'record': .*\n.*record 2: field 'record'",
        ),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "patience.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_scenarios(path)


def test_two_files_of_one_behaviour(write_list: Any, write_lines: Any, tmp_path: Path) -> None:
    write_list(GOOD)
    write_lines(GOOD, name="patience.jsonl")
    with pytest.raises(
        InputError,
        match=r"patience\.jsonl: behaviour 'patience' is also in .*patience\.json; give each",
    ):
        load_scenarios(tmp_path)


@pytest.fixture
def two_axes(write_list: Any, tmp_path: Path) -> ScenarioSet:
    write_list(*numbered("Shall I keep the coin I found", 12, flip=False), name="thrift.json")
    write_list(*numbered("Does the queue move too slowly", 8, flip=True), name="haste.json")
    return load_scenarios(tmp_path)


def test_axes_of_one_item_are_split_and_sampled(two_axes: ScenarioSet) -> None:
    train, test = two_axes.split(seed=42)
    for half in (train, test):
        assert [len(half.filter(axis=a)) for a in ("haste", "thrift")] == [4, 6]
    assert not {s.id for s in train} & {s.id for s in test}
    assert len(two_axes.sample(3)) == len(two_axes.sample(3, by="item")) == 6


def test_vectors_and_readout_of_axes_that_no_code_names(
    two_axes: ScenarioSet, tiny: LanguageModel
) -> None:
    train, test = two_axes.split(seed=42)
    vectors = extract(tiny, train)
    assert sorted(vectors) == ["haste", "thrift"]
    table = probe(tiny, test, readout="continuation")
    assert list(table.groupby("axis").size().items()) == [("haste", 4), ("thrift", 6)]
    assert list(table.id) == [s.id for s in test]
    assert table.p_positive.between(0, 1).all()
    assert table.logit_diff.abs().min() > 0


def test_swapped_answers_reverse_every_sign(write_list: Any, tiny: LanguageModel) -> None:
    """The positive pole is the behaviour's choice, whatever its letter or its place."""
    original = load_scenarios(write_list(*numbered("Is the soup too hot", 4, flip=False)))
    swapped = load_scenarios(write_list(*numbered("Is the soup too hot", 4, flip=True)))
    one, other = (extract(tiny, s)["patience"].direction for s in (original, swapped))
    assert torch.allclose(one, -other, atol=1e-5)
    assert one.abs().max() > 0.01
    readouts = [probe(tiny, s, readout="continuation").logit_diff for s in (original, swapped)]
    assert readouts[0].to_numpy() == pytest.approx(-readouts[1].to_numpy(), abs=1e-5)


def test_the_command_line_takes_a_behaviour_file(
    two_axes: ScenarioSet, tiny: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interp_culture.engine.loading.load_model", lambda *args, **kwargs: tiny)
    out = tmp_path / "probe.csv"
    options = [
        "--readout",
        "continuation",
        "--scenarios",
        str(tmp_path / "thrift.json"),
        "--out",
        str(out),
    ]
    monkeypatch.setattr(sys, "argv", ["interp-culture", "probe", *options])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert set(pd.read_csv(out).axis) == {"thrift"}


def test_a_single_item_is_one_cluster_whose_scenarios_are_drawn(two_axes: ScenarioSet) -> None:
    frame = two_axes.frame()
    weights = bootstrap_weights(frame.axis.to_numpy(), frame["item"].to_numpy(), draws=200)
    for axis, n in (("haste", 8), ("thrift", 12)):
        inside = weights[:, (frame.axis == axis).to_numpy()]
        assert (inside.sum(1) == n).all()
        assert inside.std(0).min() > 0


def test_quality_is_measured_for_axes_of_one_item(two_axes: ScenarioSet) -> None:
    values = {c.name: c.value for c in check_quality(two_axes)}
    assert values["cell sizes"] == 4
    assert values["length difference, mean"] == 0
    assert 0 <= values["guessed from words"] <= 1
