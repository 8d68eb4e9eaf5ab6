"""A training run: judge, train, judge again, compare. Its libraries come with the extras `train` and `evaluation`."""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from moderation_service import __version__
from moderation_service.app.compose import open_judge
from moderation_service.cli.common import print_lines, progress
from moderation_service.contracts.verdict import Model
from moderation_service.demo.benchmark import SEED, calibration_posts
from moderation_service.engine.local.adapter import adapter_digest
from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.engine.local.engine import LocalEngine
from moderation_service.errors import Misconfigured
from moderation_service.evaluation.label_sources import (
    BundledPosts,
    LabelledPosts,
    LabelSource,
    labelled_posts,
)
from moderation_service.evaluation.labelled import digest
from moderation_service.evaluation.paired_comparison import Comparison, compare
from moderation_service.evaluation.run import JudgedPost, judge_all, with_all_passes
from moderation_service.judging.evidence import EvidenceLoader
from moderation_service.media.image_text import open_text_reader
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.settings import Settings
from moderation_service.training import card as cards
from moderation_service.training.examples import Example, examples_of, is_usable
from moderation_service.training.split import Split, split
from moderation_service.training.trainer import Epoch, Trainer, TrainingSettings

__all__ = ["LabelSource", "TrainingSettings", "train_adapter"]  # the command's

REHEARSAL_SEED = SEED + 2
LEAST_POSTS = 40


@dataclass(frozen=True, slots=True)
class Trained:
    """What the run found; the adapter is written where `comparison` says that it is improved."""

    card: cards.Card
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class _Part:
    """One source's posts, split, and the settings that reach their images."""

    settings: Settings
    split: Split


async def train_adapter(
    settings: Settings, named: LabelSource, rehearsal: str | None, chosen: TrainingSettings, out: Path
) -> Trained:
    """Train on labelled posts, with those of `rehearsal` among them, and write the folder `out` if it is worth it.

    Raises Misconfigured where settings, labels or `out` are wrong, before anything is trained.
    """
    _check(settings, out)
    plain = settings.judging.model_copy(update={"calibration": "none"})  # what fits the base fits no other model
    judged_by = with_all_passes(settings.model_copy(update={"judging": plain}))  # by banks too, which may have a route
    pack = load_pack(settings.policies.path, images=False)
    sources = [await labelled_posts(judged_by, pack, named, _bundled(1000))]
    if rehearsal:
        own = len(sources[0].posts)
        sources.append(await labelled_posts(judged_by, pack, LabelSource(rehearsal), _bundled(own // 2)))
    parts = [await _split(given, pack) for given in sources]
    base = parts[0].split.train[0].verdict.model

    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "adapter"
        epochs = await _train(parts, pack, judged_by, chosen, folder)
        card: cards.Card = {
            "schema_version": "1",
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "made_by": __version__,
            "base": {"name": base.name, "revision": base.revision},
            "digest": adapter_digest(folder),
            "data": _data(sources, parts),
            "prompt": _prompt(base, pack),
            "settings": asdict(chosen),
            "epochs": [asdict(epoch) for epoch in epochs],
        }
        cards.write_json(folder, card)  # by which the engine knows the adapter's base
        before = [one for part in parts for one in part.split.held_out]
        after = [one for part in parts for one in await _judge(part.settings, pack, part.split.held_out, folder)]
        judged = {one.labelled.post.post_id for one in after}
        comparison = compare([one for one in before if one.labelled.post.post_id in judged], after, seed=chosen.seed)
        card["comparison"] = comparison.as_json()
        if comparison.is_improved:
            cards.write(folder, card)
            shutil.copytree(folder, out)
    return Trained(card, comparison)


def _check(settings: Settings, out: Path) -> None:
    wrong = None
    if settings.engine.kind != "local":
        wrong = "engine.kind: training needs the model in this process; should be local"
    elif settings.engine.adapter:
        wrong = "engine.adapter: an adapter is trained on the base model; leave it unset"
    elif out.exists():
        wrong = f"--out {out}: is there already; name a folder that is not"
    elif not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        wrong = f"--out {out}: {out.parent} should be a folder that may be written to"
    if wrong:
        raise Misconfigured(wrong)


def _bundled(count: int) -> BundledPosts:
    return BundledPosts(f"{count} posts, seed {REHEARSAL_SEED}", calibration_posts(count, REHEARSAL_SEED))


async def _split(given: LabelledPosts, pack: PolicyPack) -> _Part:
    """Judge a source's posts by the base model, and part those that may be learned from."""
    print_lines("not read", given.unread)
    print_lines("left out", (f"{row.where}: {row.why}" for row in given.left_out))
    with progress(len(given.posts)) as advance:
        async with open_judge(given.settings, pack) as judge:
            run = await judge_all(judge, given.posts, on_done=advance)
    print_lines("not judged", run.unjudged)
    usable = [one for one in run.judged if is_usable(one, pack)]
    if len(usable) < LEAST_POSTS:
        msg = f"{given.source}: {len(usable)} posts to learn from; should be {LEAST_POSTS} at least"
        raise Misconfigured(msg)
    return _Part(given.settings, split(usable))


async def _train(
    parts: Sequence[_Part], pack: PolicyPack, settings: Settings, chosen: TrainingSettings, folder: Path
) -> list[Epoch]:
    """Train, and save what came of it in PEFT's format."""
    engine = LocalEngine(settings.engine, load=partial(load_checkpoint, trainable=True))
    await engine.start()
    try:
        examples = [one for part in parts async for one in _examples(part, part.split.train, pack)]
        validation = [one for part in parts async for one in _examples(part, part.split.validation, pack)]
        trainer = Trainer(engine.scorer, chosen)
        epochs = trainer.train(examples, validation, _print_epoch)
        trainer.save(folder)
    finally:
        await engine.close()
    return epochs


async def _examples(part: _Part, posts: Sequence[JudgedPost], pack: PolicyPack) -> AsyncIterator[Example]:
    async with ImageLoader(part.settings.media) as loader, open_text_reader(part.settings.media) as reader:
        async for example in examples_of(
            posts, pack, part.settings, EvidenceLoader(part.settings.media, loader, reader)
        ):
            yield example


async def _judge(
    settings: Settings, pack: PolicyPack, posts: Sequence[JudgedPost], adapter: Path
) -> tuple[JudgedPost, ...]:
    """Judge posts once more, with an adapter, as it serves."""
    engine = settings.engine.model_copy(update={"adapter": adapter})
    async with open_judge(settings.model_copy(update={"engine": engine}), pack) as judge:
        return (await judge_all(judge, [one.labelled for one in posts])).judged


def _data(sources: Sequence[LabelledPosts], parts: Sequence[_Part]) -> dict[str, object]:
    counts = {
        name: sum(len(getattr(part.split, name)) for part in parts) for name in ("train", "validation", "held_out")
    }
    return {
        "source": " and ".join(given.source for given in sources),
        "digest": digest(one for given in sources for one in given.posts),
        "split_by": ", ".join(dict.fromkeys(part.split.by for part in parts)),
        **counts,
    }


def _prompt(base: Model, pack: PolicyPack) -> dict[str, str]:
    return {"layout": base.layout, "prompt_digest": base.prompt_digest, "policy_set_digest": pack.digest}


def _print_epoch(epoch: Epoch) -> None:
    best = ", the best yet" if epoch.is_best else ""
    losses = f"loss {epoch.train_loss:.4f}, on validation {epoch.validation_loss:.4f}"
    print(f"epoch {epoch.number}: {losses}{best} ({epoch.seconds:.0f} s)", file=sys.stderr)
