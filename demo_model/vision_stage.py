"""Stage 1: the vision tower learns the pictograms, with throw-away heads on its tokens."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers.models.glm4v.modeling_glm4v import Glm4vVisionModel

from demo_model.batched_vision import patches, see
from demo_model.image_bank import FAMILIES, Shelf, varied
from demo_model.optimiser import Course, Optimiser
from moderation_service.demo.glyphs import CLASSES

BATCH = 64
REPORT = 100

LOG = logging.getLogger(__name__)


class Heads(nn.Module):
    """What an image shows, from the mean of its tokens, and what each cell shows, from its token."""

    def __init__(self, width: int) -> None:
        """`width`: of a token."""
        super().__init__()
        self.image = nn.Linear(width, len(CLASSES))
        self.cell = nn.Linear(width, 1 + len(FAMILIES))


def batches(shelves: Sequence[Shelf], rng: np.random.Generator) -> Iterator[tuple[Shelf, np.ndarray]]:
    """Images of one shape at a time, shelves by their share, all of a shelf before any again."""
    shares = np.array([len(shelf.classes) for shelf in shelves], float)
    orders: list[np.ndarray] = [np.empty(0, int) for _ in shelves]
    while True:
        number = int(rng.choice(len(shelves), p=shares / shares.sum()))
        shelf = shelves[number]
        if len(orders[number]) < BATCH:
            orders[number] = np.concatenate([orders[number], rng.permutation(len(shelf.classes))])
        yield shelf, orders[number][:BATCH]
        orders[number] = orders[number][BATCH:]


def train(visual: Glm4vVisionModel, heads: Heads, shelves: Sequence[Shelf], course: Course) -> None:
    """Train the tower and the heads in place."""
    rng = np.random.default_rng(course.seed)
    optimiser = Optimiser([(nn.ModuleList([visual, heads]), 1.0)], course)
    drawn = batches(shelves, rng)
    right = seen = 0
    for step in range(1, course.steps + 1):
        shelf, chosen = next(drawn)
        pixels, cells = map(np.stack, zip(*(varied(shelf, int(at), rng) for at in chosen), strict=True))
        with torch.autocast("cpu", torch.bfloat16):
            tokens = see(visual, patches(pixels), [shelf.grid] * len(chosen))
            named = heads.image(tokens.mean(1)).float()
            told = heads.cell(tokens).float()
        classes = torch.from_numpy(shelf.classes[chosen])
        loss = functional.cross_entropy(named, classes, label_smoothing=0.05) + cell_loss(told, cells)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        right += int((named.argmax(-1) == classes).sum())
        seen += len(chosen)
        if step % REPORT == 0:
            LOG.info("%s %d of %d: loss %.3f, right %.3f", course.name, step, course.steps, loss.item(), right / seen)
            right = seen = 0


def cell_loss(told: torch.Tensor, cells: np.ndarray) -> torch.Tensor:
    """Cross-entropy over all cells; told [N, cells, families + 1]."""
    return functional.cross_entropy(told.flatten(0, 1), torch.from_numpy(cells).flatten())
