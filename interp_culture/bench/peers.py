"""Dialz and steering-vectors as sides of the benchmark, in processes of a separate environment.

They need an older version of transformers than this package. `Peer` has the interface of
`plain.PlainHuggingFace`; its seconds are the server's, without communication between processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from interp_culture.bench.plain import Run
from interp_culture.errors import InputError

SERVER = Path(__file__).with_name("peer_server.py")
# torch is installed first and pinned, since unpinned it pulls gigabytes of CUDA packages. Dialz
# imports IPython without requiring it. 4.57.6 is the newest transformers that both peers allow.
PACKAGES = (
    ("torch==2.13.0",),
    ("dialz==1.1.4", "steering-vectors==0.12.2", "transformers==4.57.6", "ipython"),
)


class PeerError(RuntimeError):
    """The peers' environment could not be built, or a peer failed at a task."""


def build_environment(folder: Path) -> Path:
    """Create the peers' virtual environment unless it is complete.

    Returns:
        The path of its python.

    Raises:
        PeerError: if a command fails; the message has the end of the log.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    marker = folder / "complete.json"
    wanted = json.dumps(PACKAGES)
    if marker.exists() and marker.read_text(encoding="utf-8") == wanted:
        return python
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "install.log"
    log.write_bytes(b"")
    _run_logged([sys.executable, "-m", "venv", str(folder)], log)
    install = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    for packages in PACKAGES:
        _run_logged([*install, *packages], log)
    # Last, so that an interrupted installation is done again.
    marker.write_text(wanted, encoding="utf-8")
    return python


def _run_logged(command: list[str], log: Path) -> None:
    with log.open("ab") as file:
        finished = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False
        )
    if finished.returncode:
        raise PeerError(
            f"exit code {finished.returncode} from: {' '.join(command)}; "
            f"{log} ends:\n{_end_of(log)}"
        )


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:])


def write_for_transformers_4(folder: Path, target: Path) -> None:
    """Write a copy of a model folder, with links to its files, that transformers 4 can read.

    transformers 4 ignores the config fields that version 5 renamed: a rotary base of 100000 would
    silently become the default of 10000.

    Raises:
        InputError: if the model's rotary embeddings cannot be described in version 4.
    """
    for file in folder.iterdir():
        (target / file.name).symlink_to(file.resolve())
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    rope = config.pop("rope_parameters", None)
    if rope:
        if "rope_theta" not in rope or rope.get("rope_type", "default") != "default":
            raise InputError(
                f"{folder}: transformers 4 cannot describe its rotary embeddings {rope}"
            )
        config["rope_theta"] = rope["rope_theta"]
    tokens = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokens |= {"tokenizer_class": "PreTrainedTokenizerFast", "padding_side": "right"}
    for name, values in (("config.json", config), ("tokenizer_config.json", tokens)):
        # It is a link: writing to it would change the original.
        (target / name).unlink()
        (target / name).write_text(json.dumps(values), encoding="utf-8")


class Peer:
    """A peer's process, which lives as long as the `with` block.

    Attributes:
        seconds: time of the tasks since `take_seconds`, without communication.
        peak_mib: peak memory of the process so far, in MiB, including its model.
        versions: package -> version, of the library, transformers and torch.
    """

    def __init__(
        self,
        name: Literal["dialz", "steering-vectors"],
        python: Path,
        model_folder: Path,
        server: Path = SERVER,
    ) -> None:
        if not python.exists():
            raise InputError(
                f"{python}: no such python; "
                "build the peers' environment with build_environment(folder)"
            )
        self.name = name
        self.seconds = 0.0
        self.peak_mib = 0.0
        self._scratch = tempfile.TemporaryDirectory()
        self._folder = Path(self._scratch.name)
        self._log = self._folder / "stderr.log"
        model = self._folder / "model"
        model.mkdir()
        write_for_transformers_4(model_folder, model)
        # -I keeps out the packages and settings of the environment that this process runs in.
        self._process = self._start([str(python), "-I", str(server), name, str(model)])
        try:
            self.versions: dict[str, str] = self._reply()["versions"]
        except BaseException:
            self.close()
            raise

    def extract(self, pairs: list[tuple[str, str]]) -> Float[np.ndarray, "layer d_model"]:
        return self._ask("extract", pairs=pairs)

    def read(
        self, prompts: list[list[int]], tokens: list[int], runs: Sequence[Run]
    ) -> Float[np.ndarray, "run prompt token"]:
        return self._ask("read", prompts=prompts, tokens=tokens, runs=self._with_files(runs))

    def score(
        self, prompts: list[list[int]], answers: list[list[int]], runs: Sequence[Run]
    ) -> Float[np.ndarray, "run prompt"]:
        return self._ask("score", prompts=prompts, answers=answers, runs=self._with_files(runs))

    def generate(
        self, prompts: list[list[int]], max_new_tokens: int, runs: Sequence[Run]
    ) -> list[list[list[int]]]:
        return self._ask(
            "generate", prompts=prompts, max_new_tokens=max_new_tokens, runs=self._with_files(runs)
        )

    def take_seconds(self) -> float:
        """The seconds of the tasks since the last call."""
        seconds = self.seconds
        self.seconds = 0.0
        return seconds

    def close(self) -> None:
        """End the process."""
        try:
            # It closes stdin, which ends the server's loop over lines.
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._scratch.cleanup()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        # As many threads as here, so that times can be compared.
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())}
        with self._log.open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=env,
            )

    def _with_files(self, runs: Sequence[Run]) -> list[dict[str, Any] | None]:
        """The runs in the form that the server expects, with the vectors in files."""
        requests: list[dict[str, Any] | None] = []
        for i, run in enumerate(runs):
            if run is None:
                requests.append(None)
                continue
            file = self._folder / f"vectors-{i}.npy"
            np.save(file, np.stack(list(run["vectors"])), allow_pickle=False)
            requests.append({**run, "vectors": str(file)})
        return requests

    def _ask(self, task: str, **arguments: Any) -> Any:
        out = self._folder / "values.npy"
        request = {"task": task, "arguments": arguments, "out": str(out)}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # The process has ended; `_reply` reports why.
        reply = self._reply()
        self.seconds += reply["seconds"]
        self.peak_mib = reply["peak_mib"]
        return np.load(reply["file"], allow_pickle=False) if "file" in reply else reply["values"]

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise PeerError(f"{self.name} ended with exit code {code}:\n{_end_of(self._log)}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise PeerError(f"{self.name}: {reply['error']}")
        return reply
