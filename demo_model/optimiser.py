"""Muon for matrices, AdamW for all else, one schedule for both."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

CLIP = 1.0
WARM = 20
"""Steps in which the rates rise to their full height."""


@dataclass(frozen=True, slots=True)
class Course:
    """How long, with which random numbers, at which rates (Muon's, AdamW's), and for which share of it flat."""

    name: str
    steps: int
    seed: int
    rates: tuple[float, float]
    flat: float


class Optimiser:
    """Two optimisers that step together. The rates stay flat for a share of the steps, then fall linearly to zero."""

    def __init__(self, groups: Iterable[tuple[nn.Module, float]], course: Course) -> None:
        """`groups`: modules, and by how much each one's rates differ from the course's."""
        self._course, self._done = course, 0
        matrices: list[dict[str, Any]] = []
        rest: list[dict[str, Any]] = []
        self._all: list[nn.Parameter] = []
        for module, factor in groups:
            muon_rate, adam_rate = (factor * rate for rate in course.rates)
            muon, adam = _split(module)
            self._all += [*muon, *adam]
            matrices.append({"params": muon, "lr": muon_rate, "full": muon_rate})
            rest.append({"params": adam, "lr": adam_rate, "full": adam_rate})
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                [group for group in matrices if group["params"]],
                momentum=0.95,
                weight_decay=0.02,
                adjust_lr_fn="original",
            ),
            torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0),
        ]

    def step(self) -> None:
        """Clip, step, and forget the gradients."""
        share = self._done / self._course.steps
        rate = min(1.0, (1 - share) / (1 - self._course.flat), (self._done + 1) / WARM)
        torch.nn.utils.clip_grad_norm_(self._all, CLIP)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = group["full"] * rate
            part.step()
            part.zero_grad(set_to_none=True)
        self._done += 1


def _split(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Matrices, and all else: embeddings, the head, norms, biases, convolutions."""
    kept_apart = {
        id(weight)
        for part in module.modules()
        if isinstance(part, nn.Embedding) or getattr(part, "out_features", 0) > 1000
        for weight in part.parameters(recurse=False)
    }
    muon: list[nn.Parameter] = []
    adam: list[nn.Parameter] = []
    for weight in module.parameters():
        if weight.requires_grad:
            (muon if weight.ndim == 2 and id(weight) not in kept_apart else adam).append(weight)
    return muon, adam
