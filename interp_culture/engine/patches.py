"""Patches: activations of one run that are put in the place of another's."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from interp_culture.engine.token_tree import Batch


# No generated `==`: comparing two tensors gives a tensor, which has no single truth value.
@dataclass(frozen=True, eq=False)
class Patch:
    """Sets a part of the activations at a hook point within a block.

    It acts where an `Edit` does. Without values it stands for those of the plain pass over the same
    tokens, to which `score_stacks` binds it batch by batch.

    Attributes:
        layer, hook_point: as of an `Edit`; any hook point of the bridge.
        part: the values of each token that are set, such as those of one head.
        values: what they are set to, token by token, or the same for all tokens; None for what they
            are in the plain pass.
        first: the first token of each row that is set, by default all are; `values` begin there.
    """

    layer: int
    hook_point: str
    part: slice
    values: Float[Tensor, "row pos width"] | Float[Tensor, " width"] | None = None
    first: int = 0

    @property
    def hook_name(self) -> str:
        return f"blocks.{self.layer}.{self.hook_point}"

    @property
    def stream(self) -> int:
        """The first residual stream from which a pass has to run again: its block's input."""
        return self.layer

    @property
    def is_on_stream(self) -> bool:
        return False

    def bound(self, plain: Float[Tensor, "row pos width"]) -> Patch:
        """The patch for one batch, of which `plain` are the activations in the plain pass."""
        return replace(self, values=plain) if self.values is None else self

    def apply(
        self, activation: Float[Tensor, "row pos *width"], batch: Batch
    ) -> Float[Tensor, "row pos *width"]:
        """The activation with the part set, in its own dtype; heads count as side by side."""
        assert self.values is not None, "a patch without values is bound before it acts"
        changed = activation.flatten(2).clone()
        changed[:, self.first :, self.part] = self.values[..., self.part].to(changed)
        return changed.view_as(activation)
