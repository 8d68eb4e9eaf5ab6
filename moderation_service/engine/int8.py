"""Weights in eight bits, a scale for each row: half the memory of bfloat16, and scores a little other.

Products are computed in the model's own precision, from weights widened for the one product that needs them. The
embedding and the head, whose rows are the answers' labels, stay as they are, and so do convolutions.
"""

import torch
from torch import nn
from torch.nn import functional

LEVELS = 127


class Int8Linear(nn.Module):
    """A linear layer with its weight [out, in] as bytes, rounded to the nearest of 255 levels of its row."""

    levels: torch.Tensor
    scale: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / LEVELS
        self.register_buffer("levels", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale[:, 0].to(linear.weight.dtype))
        self.bias = linear.bias

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """[..., in] to [..., out]."""
        products = functional.linear(states, self.levels.to(states.dtype)) * self.scale
        return products if self.bias is None else products + self.bias


def quantize(model: nn.Module) -> None:
    """Put every linear layer but the head in eight bits, in place."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and name != "lm_head":
                setattr(parent, name, Int8Linear(child))
