"""The finished batches of a table that was stopped are not read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from interp_culture.artifacts import journal as journal_module
from interp_culture.artifacts.journal import Journal, current_journal, forget, journal
from interp_culture.engine import batching, gradients, logprobs
from interp_culture.engine.interventions import Edit
from interp_culture.engine.model import LanguageModel
from interp_culture.readout.probing import read_runs
from interp_culture.scenarios.scenario import ScenarioSet
from interp_culture.steering.readout_gradients import cache_gradients, readout_gradients


class Stopped(BaseException):
    """What ends a run from outside."""


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(batching.BATCH_TOKENS, "cpu", 600)
    monkeypatch.setattr(journal_module, "SECONDS", 0.0)


def traced_batches(monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> list[int]:
    """The batches that the model reads from here on; reading stops after some."""
    traced: list[int] = []
    real: Callable = logprobs.trace

    def counted(model: LanguageModel, batch: object, *args: object, **kwargs: object) -> object:
        if stop_after is not None and len(traced) == stop_after:
            raise Stopped
        traced.append(1)
        return real(model, batch, *args, **kwargs)

    monkeypatch.setattr(logprobs, "trace", counted)
    return traced


def test_a_stopped_readout_goes_on_and_ends_bit_for_bit(
    tiny: LanguageModel,
    few: ScenarioSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_batches: None,
) -> None:
    import torch

    runs = {"plain": [], "steered": [Edit(1, torch.ones(tiny.d_model), 0.5)]}

    def read() -> pd.DataFrame:
        with journal(tmp_path, "t", "key"):
            return read_runs(tiny, few, runs, readout="continuation")

    undisturbed = read_runs(tiny, few, runs, readout="continuation")
    with monkeypatch.context() as patch:
        whole = traced_batches(patch)
        read_runs(tiny, few, runs, readout="continuation")
    assert len(whole) > 3
    with monkeypatch.context() as patch:
        traced_batches(patch, stop_after=2)
        with pytest.raises(Stopped):
            read()
    with monkeypatch.context() as patch:
        rest = traced_batches(patch)
        resumed = read()
    assert len(rest) == len(whole) - 2
    pd.testing.assert_frame_equal(resumed, undisturbed, check_exact=True)
    # Other edits find none of it.
    with monkeypatch.context() as patch:
        others = traced_batches(patch)
        runs["steered"] = [Edit(1, torch.ones(tiny.d_model), 0.25)]
        read()
    assert len(others) == len(whole)
    forget(tmp_path, "t")
    assert list(tmp_path.iterdir()) == []


def test_stopped_gradients_go_on_and_end_bit_for_bit(
    tiny: LanguageModel,
    few: ScenarioSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_batches: None,
) -> None:
    def counted_batches(patch: pytest.MonkeyPatch, stop_after: int | None = None) -> list[int]:
        done: list[int] = []
        real = gradients.backward

        def backward(*args: object, **kwargs: object) -> object:
            if stop_after is not None and len(done) == stop_after:
                raise Stopped
            done.append(1)
            return real(*args, **kwargs)  # type: ignore[arg-type]

        patch.setattr(gradients, "backward", backward)
        return done

    with monkeypatch.context() as patch:
        whole = counted_batches(patch)
        undisturbed = readout_gradients(tiny, few, "continuation")
    assert len(whole) > 3
    with monkeypatch.context() as patch:
        counted_batches(patch, stop_after=2)
        with pytest.raises(Stopped):
            cache_gradients(tiny, few, tmp_path / "g", "continuation")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["g.unfinished"]
    with monkeypatch.context() as patch:
        rest = counted_batches(patch)
        resumed = cache_gradients(tiny, few, tmp_path / "g", "continuation")
    assert len(rest) == len(whole) - 2
    assert resumed.gradient.equal(undisturbed.gradient)
    assert resumed.logit_diff.equal(undisturbed.logit_diff)
    assert not (tmp_path / "g.unfinished").exists()


def test_parts_of_another_table_or_damaged_ones_are_not_taken(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    kept = Journal(folder, "key")
    name = kept.name(b"source")
    kept.keep(name, np.arange(3.0))
    kept.write()
    array = Journal(folder, "key").kept(name)
    assert array is not None
    np.testing.assert_array_equal(array, np.arange(3.0))
    assert Journal(folder, "other").name(b"source") != name
    assert Journal(folder, "key").name(b"another source") != name
    again = Journal(folder, "key")
    assert [again.name(b"source") == name, again.name(b"source") == name] == [True, False]
    (path,) = folder.glob("*.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert Journal(folder, "key").kept(name) is None


def test_there_is_no_journal_outside_a_table(tmp_path: Path) -> None:
    assert current_journal() is None
    with journal(tmp_path, "t", "key"):
        assert current_journal() is not None
    assert current_journal() is None
