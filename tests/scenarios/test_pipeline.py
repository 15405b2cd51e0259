"""A teacher on loopback fills a pool; its candidates are kept, resumed, selected and described."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import fails, run
from teacher_server import (
    Handler,
    Server,
    candidate,
    config_for,
    good,
    hang,
    ignore,
    pool_of,
    quick_retries,
    read_manifest,
    say,
    serve,
    status,
)

from interp_culture.errors import InputError
from interp_culture.resources import DATA
from interp_culture.scenarios.files import load_scenarios
from interp_culture.scenarios.teacher.client import EndpointError
from interp_culture.scenarios.teacher.pipeline import check_config, generate

FIXTURES = (config_for, quick_retries, serve)  # pytest looks for them in this module


def test_a_run_writes_a_set_that_loads(serve: Any, config_for: Any) -> None:
    server = serve()
    config = config_for(server)
    assert generate(config, ignore) == read_manifest(config)
    # A request gives 5 candidates, and 6 are needed.
    assert len(server.asked) == 2
    scenarios = load_scenarios(config.out)
    assert [s.id for s in scenarios] == ["Y01-family-01", "Y01-family-02", "Y01-family-03"]
    assert {(s.axis, s.item, s.domain) for s in scenarios} == {("Y", "Y01", "family")}
    known = {c.situation: c for c in pool_of(config).candidates}
    assert len(known) == 10
    assert all(known[s.situation].positive == s.positive for s in scenarios)
    assert all(known[s.situation].negative == s.negative for s in scenarios)
    manifest = read_manifest(config)
    assert manifest["endpoints"] == [f"127.0.0.1:{server.server_port}"]
    assert manifest["candidates"] == 10
    for spread in manifest["spread"].values():
        assert set(spread) == {"minimum", "mean"}
        assert spread["minimum"] > 0.5
    assert set(manifest["versions"]) == {"interp-culture", "openai", "scikit-learn", "numpy"}


def test_every_request_is_different(serve: Any, config_for: Any) -> None:
    server = serve()
    generate(config_for(server, n=15, about="Is a god asked?"), ignore)
    prompts = [asked["messages"][1]["content"] for asked in server.asked]
    assert len({asked["seed"] for asked in server.asked}) == 3
    assert len({p.split("lean towards: ")[1].split("\n")[0] for p in prompts}) == 3
    assert all("God is important (F063)" in p and "Is a god asked?" in p for p in prompts)
    assert all(
        "'traditional' (the negative pole)" in p and "The setting: family" in p for p in prompts
    )
    assert "begin as follows" not in prompts[0]
    assert "- Decide harbour9 violin9 lantern9 orchard9 ledger9. ..." in prompts[2]
    assert server.asked[0]["response_format"] == {"type": "json_object"}
    assert server.asked[0]["model"] == "m"


def test_only_first_words_of_known_situations_are_sent(serve: Any, config_for: Any) -> None:
    words = " ".join(f"word{i}" for i in range(30))
    server = serve(say(json.dumps([candidate(100) | {"situation": words}])))
    generate(config_for(server, n=2, select=1), ignore)
    assert (
        "- word0 word1 word2 word3 word4 word5 word6 word7 ..."
        in server.asked[1]["messages"][1]["content"]
    )
    assert "word8" not in server.asked[1]["messages"][1]["content"]


def test_malformed_json_is_asked_again(serve: Any, config_for: Any) -> None:
    server = serve(say("Sorry, no JSON."), say('{"scenarios": [{"situation": "He'), good())
    config = config_for(server, n=5)
    manifest = generate(config, ignore)
    assert manifest["rejected"] == {"malformed JSON": 2}
    assert manifest["answers"] == 3
    assert [e.request for e in pool_of(config).entries] == [1] * 6
    assert server.asked[0]["messages"] == server.asked[1]["messages"] == server.asked[2]["messages"]
    assert len({asked["seed"] for asked in server.asked}) == 3


def test_a_teacher_that_never_answers_in_json_is_given_up(serve: Any, config_for: Any) -> None:
    server = serve(*[say("I cannot do that.")] * 50)
    config = config_for(server, max_empty=2, max_malformed=3)
    with pytest.raises(
        EndpointError, match=r"2 requests in a row gave no valid candidate \(malformed JSON 6\)"
    ):
        generate(config, ignore)
    assert len(server.asked) == 6
    assert not config.out.exists()


def test_empty_requests_count_only_in_a_row(serve: Any, config_for: Any) -> None:
    bad = say(json.dumps({"scenarios": [{"situation": "x"}]}))
    server = serve(bad, good(1), bad, good(1), bad, bad)
    with pytest.raises(EndpointError, match=r"2 requests in a row .*wrong fields 4"):
        generate(config_for(server, max_empty=2), ignore)


def test_near_duplicates_are_counted_and_not_kept(serve: Any, config_for: Any) -> None:
    twins = [candidate(900), candidate(900) | {"situation": candidate(900)["situation"] + " Now."}]
    server = serve(say(json.dumps(twins)), say(json.dumps(twins)), good())
    config = config_for(server)
    manifest = generate(config, ignore)
    assert manifest["rejected"] == {"near-duplicate": 3}
    assert len({c.situation for c in pool_of(config).candidates}) == manifest["candidates"] == 6


def test_a_run_continues_after_the_server_died(serve: Any, config_for: Any) -> None:
    def die(h: Handler) -> None:
        h.server.socket.close()
        h.close_connection = True

    first = serve(good(), good(), die)
    config = config_for(first, n=20, max_retries=1)
    with pytest.raises(EndpointError, match="no answer from"):
        generate(config, ignore)
    kept = config.pool_path.read_bytes()
    assert len(pool_of(config).candidates) == 10
    assert not config.out.exists()

    first.stop()
    second = serve(port=first.server_port)
    second.written = 10
    notes: list[str] = []
    manifest = generate(config, notes.append)
    assert len(second.asked) == 2
    assert config.pool_path.read_bytes().startswith(kept)
    assert manifest["candidates"] == 20
    assert manifest["answers"] == 4
    assert manifest["tokens_in"] == 4000
    assert "continuing with 10 candidates" in notes[0]
    assert "- Decide harbour9 violin9" in second.asked[0]["messages"][1]["content"]
    assert sorted({e.request for e in pool_of(config).entries}) == [1, 2, 3, 4]


@pytest.fixture
def default_interrupts() -> Iterator[None]:
    """Ctrl-C raises as in a terminal, also where nohup or cron made the process ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("default_interrupts")
def test_an_interrupted_command_says_how_to_continue(serve: Any, tmp_path: Path) -> None:
    def interrupt(h: Handler) -> None:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        hang(h)

    server = serve(good(), interrupt)
    done = run(*command(server, tmp_path / "set.jsonl"))
    assert done.returncode == 130
    assert (
        "set.pool.jsonl keeps what has come so far; the same command goes on from there"
        in done.stderr
    )
    server.released.set()
    assert run(*command(server, tmp_path / "set.jsonl")).returncode == 0
    assert len(server.asked) == 3


def test_a_killed_process_loses_nothing(serve: Any, tmp_path: Path) -> None:
    out = tmp_path / "set.jsonl"
    server = serve(good(), lambda h: (process.kill(), hang(h)))
    program = [sys.executable, "-c", "from interp_culture.cli import main; main()"]
    process = subprocess.Popen(
        [*program, *map(str, command(server, out))], stderr=subprocess.DEVNULL
    )
    assert process.wait(60) == -signal.SIGKILL
    assert [p.name for p in tmp_path.iterdir()] == ["set.pool.jsonl"]
    assert run(*command(server, out)).returncode == 0
    assert len(load_scenarios(out)) == 3
    assert len(server.asked) == 3


def test_an_incomplete_line_is_reported_and_replaced(serve: Any, config_for: Any) -> None:
    server = serve(good(), status(404))
    config = config_for(server)
    with pytest.raises(InputError):
        generate(config, ignore)
    with config.pool_path.open("ab") as file:
        file.write(b'{"catalogue": "cult')
    notes: list[str] = []
    manifest = generate(config, notes.append)
    assert "its last line was incomplete (19 bytes) and was removed" in notes[0]
    assert manifest["candidates"] == 10


def test_selection_from_a_full_pool_sends_nothing(serve: Any, config_for: Any) -> None:
    server = serve()
    config = config_for(server, n=10)
    generate(config, ignore)
    before = len(server.asked)
    generate(replace(config, select=5, first=21), ignore)
    assert len(server.asked) == before
    assert [s.id[-2:] for s in load_scenarios(config.out)] == ["21", "22", "23", "24", "25"]


def test_a_pool_of_another_item_stops_before_anything_is_sent(serve: Any, config_for: Any) -> None:
    server = serve()
    config = config_for(server)
    generate(config, ignore)
    with pytest.raises(InputError, match="the item of this pool is 'Y01', but this run has 'X02'"):
        generate(replace(config, item="X02", n=20), ignore)
    with pytest.raises(InputError, match="the model of this pool is 'm', but this run has 'other'"):
        generate(replace(config, model="other", n=20), ignore)
    assert len(server.asked) == 2


def test_cost_is_tokens_times_price(serve: Any, config_for: Any) -> None:
    manifest = generate(config_for(serve(), n=10, price_in=2.0, price_out=8.0), ignore)
    assert (manifest["tokens_in"], manifest["tokens_out"]) == (2000, 600)
    assert manifest["cost"] == pytest.approx(2000 * 2 / 1e6 + 600 * 8 / 1e6)


def test_without_prices_or_counts_no_number_is_invented(serve: Any, config_for: Any) -> None:
    server = serve(say(json.dumps([candidate(50)]), usage={}), good())
    manifest = generate(config_for(server), ignore)
    assert manifest["cost"] is None
    assert (manifest["answers"], manifest["unmetered"], manifest["tokens_in"]) == (2, 1, 1000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item": "Z9"}, r"--item 'Z9': unknown; .*axes.yaml has Y01, "),
        ({"domain": "school"}, r"--domain 'school': unknown; .* has family, workplace, legal"),
        ({"n": 0, "select": 0}, "--n 0"),
        ({"select": 7}, "--select 7: give a number from 1 to --n 6"),
        ({"select": 0}, "--select 0"),
        ({"first": 0}, "--first 0"),
        ({"per_request": 0}, "--per-request 0"),
        ({"timeout": 0.0}, "--timeout 0.0"),
        ({"timeout": float("nan")}, "--timeout nan"),
        ({"max_retries": -1}, "--max-retries -1"),
        ({"temperature": -0.1}, "--temperature -0.1"),
        ({"model": " "}, "--model"),
        ({"price_in": 1.0}, "--price-in and --price-out: give both"),
        ({"price_in": 1.0, "price_out": -1.0}, "--price-in and --price-out"),
        ({"out": Path("set.json")}, r"--out set\.json: end the name in \.jsonl"),
        ({"endpoint": "host/v1"}, "--endpoint"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(
    serve: Any, config_for: Any, change: dict[str, Any], message: str
) -> None:
    server = serve()
    config = replace(config_for(server), **change)
    with pytest.raises(InputError, match=message):
        generate(config, ignore)
    assert server.asked == []
    assert not config.out.parent.joinpath("set.pool.jsonl").exists()


def test_edited_and_foreign_files_are_not_overwritten(serve: Any, config_for: Any) -> None:
    server = serve()
    config = config_for(server)
    generate(config, ignore)
    edited = config.out.read_text().replace("boat", "ship", 1)
    config.out.write_text(edited)
    with pytest.raises(
        InputError, match=r"edited after .* written by something else; choose another name"
    ):
        generate(config, ignore)
    assert config.out.read_text() == edited
    config.out.unlink()
    config.manifest_path.write_text('{"mine": 1}')
    with pytest.raises(InputError, match="choose another name or move both away"):
        generate(config, ignore)
    with pytest.raises(InputError, match="move both away"):
        check_config(replace(config, out=DATA / "culture" / "Y01.jsonl"))


def test_a_folder_that_cannot_be_written_is_refused(
    serve: Any, config_for: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    server = serve()
    with pytest.raises(InputError, match="cannot write there"):
        generate(config_for(server, out=tmp_path / "file" / "in" / "set.jsonl"), ignore)
    assert server.asked == []


TONE = """
name: tone
axes: {T: {negative: blunt, positive: gentle}}
domains: [shop, school]
items: {T1: {axis: T, label: how bad news is told}}
"""


def test_any_catalogue_works(serve: Any, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "axes.yaml").write_text(TONE)
    asked = ("--item", "T1", "--domain", "shop", "--scenarios", mine)
    server = serve()
    for out in (mine / "T1-shop.jsonl", tmp_path / "elsewhere" / "T1-shop.jsonl"):
        done = run(*command(server, out, *asked))
        assert done.returncode == 0, done.stderr
        scenarios = load_scenarios(out)
        assert scenarios.catalogue.name == "tone"
        assert next((s.id, s.axis) for s in scenarios) == ("T1-shop-01", "T")
    prompt = server.asked[0]["messages"][1]["content"]
    assert "how bad news is told" in prompt
    assert "'blunt' (the negative pole) to 'gentle' (the positive pole)" in prompt
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.pool.jsonl").write_text("{}")
    assert run(*command(server, other / "a.jsonl", *asked, "--dry-run")).returncode == 0
    (other / "b.jsonl").write_text("{}")
    assert "does not declare T1 and shop" in fails(*command(server, other / "a.jsonl", *asked))
    assert "there is no" in fails(*command(server, mine / "x.jsonl", "--scenarios", other))


def command(server: Server, out: Path, *more: str | Path) -> list[str | Path]:
    task = [
        "generate",
        "--endpoint",
        server.url,
        "--model",
        "m",
        "--out",
        out,
        "--n",
        "6",
        "--select",
        "3",
    ]
    return [*task, "--item", "Y01", "--domain", "family", *more]


def test_the_command_reports_candidates_and_cost(serve: Any, tmp_path: Path) -> None:
    server = serve(say("no"), good())
    done = run(*command(server, tmp_path / "set.jsonl", "--price-in", "1", "--price-out", "2"))
    assert done.returncode == 0, done.stderr
    assert "10 candidates; refused: malformed JSON 1" in done.stdout
    assert "3 answers, 3000 tokens in, 900 out, cost 0.0048" in done.stdout
    assert "Distance to the nearest neighbour: least " in done.stdout
    assert f"interp-culture validate {tmp_path / 'set.jsonl'}" in done.stdout


def test_a_dry_run_sends_and_writes_nothing(serve: Any, tmp_path: Path) -> None:
    server = serve()
    done = run(*command(server, tmp_path / "new" / "set.jsonl", "--dry-run"))
    assert done.returncode == 0
    assert "--- user\nWrite 5 dilemmas" in done.stdout
    assert server.asked == []
    assert list(tmp_path.iterdir()) == []


def test_exit_codes(serve: Any, tmp_path: Path) -> None:
    server = serve(*[status(500, "Out of memory")] * 2)
    done = run(*command(server, tmp_path / "set.jsonl", "--max-retries", "1"))
    assert done.returncode == 1
    assert "Out of memory" in done.stderr
    assert "Traceback" not in done.stderr
    assert "--select 7" in fails(*command(server, tmp_path / "set.jsonl", "--select", "7"))
    assert "no such file" in fails(
        *command(server, tmp_path / "set.jsonl", "--scenarios", tmp_path / "none")
    )
