"""How large a model is, known before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForCausalLM

from interp_culture.engine.packaged import PACKAGED


@dataclass(frozen=True)
class ModelSize:
    """Weights and blocks of a model."""

    parameters: int
    n_layers: int


def model_size(name: str) -> ModelSize | None:
    """The size of a model by its packaged name, Hub id or folder, without its weights.

    Returns:
        None where there is no configuration to read: for a .gguf file, or a Hub id whose
        configuration is not on this machine and cannot be downloaded.

    >>> model_size("smollm2")
    ModelSize(parameters=134515008, n_layers=30)
    """
    packaged = PACKAGED.get(name)
    if packaged is not None:
        return ModelSize(packaged.n_parameters, packaged.n_layers)
    try:
        config = AutoConfig.from_pretrained(name)
        # Shapes alone, which take no memory.
        with init_empty_weights():
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError):
        return None
    return ModelSize(model.num_parameters(), config.get_text_config().num_hidden_layers)
