"""The benchmark's other sides against single prompts, and the report of a peer's failures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from interp_culture.bench import peer_server, peers
from interp_culture.bench.plain import PlainHuggingFace, PlainTransformerLens, Run
from interp_culture.errors import InputError

PAIRS = [
    ("I would sign it.", "I'd rather not sign."),
    ("Trust people", "Be very careful with people"),
]
PROMPTS = [[10, 20, 30, 40, 50], [7, 8], [99] * 40]
ANSWERS = [[5, 6], [60, 61, 62], [9]]
VECTORS = np.random.default_rng(0).normal(size=(4, 32)).astype(np.float32)
RUNS: list[Run] = [None, {"layers": [0, 3], "vectors": VECTORS, "alpha": 0.7}]


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("freebsd", 1024)])
def test_peak_memory_is_in_mib_without_the_files_of_linux(
    platform: str, unit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(ru_maxrss=300 * 2**20 // unit)
    monkeypatch.setattr(peer_server, "Path", lambda path: tmp_path / "none")
    monkeypatch.setattr(peer_server.resource, "getrusage", lambda who: usage)
    monkeypatch.setattr(peer_server.sys, "platform", platform)
    assert peer_server.peak_mib() == 300


@contextmanager
def steered(model: Any, run: Run) -> Iterator[list]:
    """Steer a single prompt by one hook per block; yields the outputs of the blocks in order."""
    seen: list[torch.Tensor] = []

    def hook(layer: int) -> Any:
        def act(module: Any, args: Any, out: Any) -> Any:
            hidden = out[0] if isinstance(out, tuple) else out
            if run and layer in run["layers"]:
                hidden = hidden + run["alpha"] * torch.tensor(run["vectors"][layer])
            seen.append(hidden[0, -1])
            return (hidden, *out[1:]) if isinstance(out, tuple) else hidden

        return act

    handles = [
        block.register_forward_hook(hook(i)) for i, block in enumerate(model.get_decoder().layers)
    ]
    with torch.no_grad():
        yield seen
    for handle in handles:
        handle.remove()


def alone(model: Any, tokens: list[int], run: Run) -> torch.Tensor:
    with steered(model, run):
        return model(torch.tensor([tokens]), use_cache=False).logits[0]


def greedy(model: Any, prompt: list[int], n: int, run: Run) -> list[int]:
    new: list[int] = []
    while len(new) < n and (token := int(alone(model, prompt + new, run)[-1].argmax())) != 2:
        new.append(token)
    return new


def sides(pair: Any) -> list[Any]:
    tokenizer = pair.model.tokenizer
    return [
        PlainHuggingFace(pair.plain, tokenizer),
        PlainTransformerLens(pair.model.bridge, tokenizer),
    ]


def test_vectors_are_those_of_single_texts(pair: Any) -> None:
    def last(text: str) -> torch.Tensor:
        with steered(pair.plain, None) as seen:
            pair.plain(torch.tensor([pair.model.tokenizer(text).input_ids]), use_cache=False)
        return torch.stack(seen)

    expected = torch.stack([last(x) - last(y) for x, y in PAIRS]).mean(0).numpy()
    for side in sides(pair):
        assert np.abs(side.extract(PAIRS) - expected).max() < 1e-4 * np.abs(expected).max()


def test_reads_and_answers_are_those_of_single_prompts(pair: Any) -> None:
    logits = np.array(
        [[alone(pair.plain, p, run)[-1, [3, 200]].numpy() for p in PROMPTS] for run in RUNS]
    )

    def score(prompt: list[int], answer: list[int], run: Run) -> float:
        logprobs = alone(pair.plain, prompt + answer, run).log_softmax(-1)
        return float(sum(logprobs[len(prompt) - 1 + n, token] for n, token in enumerate(answer)))

    scores = [[score(p, a, run) for p, a in zip(PROMPTS, ANSWERS, strict=True)] for run in RUNS]
    assert np.abs(logits[1] - logits[0]).max() > 0.1
    for side in sides(pair):
        np.testing.assert_allclose(side.read(PROMPTS, [3, 200], RUNS), logits, atol=1e-3)
        np.testing.assert_allclose(side.score(PROMPTS, ANSWERS, RUNS), scores, atol=1e-3)


def test_generations_are_those_of_single_prompts(pair: Any) -> None:
    expected = [[greedy(pair.plain, prompt, 6, run) for prompt in PROMPTS] for run in RUNS]
    assert expected[0] != expected[1]
    for side in sides(pair):
        assert side.generate(PROMPTS, 6, RUNS) == expected


def fake_peer(folder: Path, code: str) -> peers.Peer:
    (folder / "config.json").write_text(
        json.dumps({"rope_parameters": {"rope_theta": 5.0, "rope_type": "default"}})
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "TokenizersBackend"})
    )
    (folder / "server.py").write_text(code)
    return peers.Peer("dialz", Path(sys.executable), folder, folder / "server.py")


def test_a_peers_failures_are_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="build_environment"):
        peers.Peer("dialz", tmp_path / "absent", tmp_path)
    with pytest.raises(peers.PeerError, match=r"exit code 1:[\s\S]*No module named 'absent'"):
        fake_peer(tmp_path, "import absent")
    ready = "import json, sys; config = json.load(open(sys.argv[2] + '/config.json'))\n"
    ready += "assert config['rope_theta'] == 5.0\n"
    ready += "print('{\"versions\": {}}', flush=True); input();"
    with fake_peer(tmp_path, ready + 'print(\'{"error": "IndexError: 7"}\')') as peer:
        with pytest.raises(peers.PeerError, match="dialz: IndexError: 7"):
            peer.read(PROMPTS, [3], RUNS)
        with pytest.raises(peers.PeerError, match="exit code 0"):
            peer.extract(PAIRS)
    with pytest.raises(peers.PeerError, match=r"install\.log ends:\nno space"):
        peers._run_logged(
            [sys.executable, "-c", "raise SystemExit('no space')"], tmp_path / "install.log"
        )
