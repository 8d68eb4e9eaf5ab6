"""Near duplicates: verdicts on PDQ-near images with equal words are linked, and nothing else of them changes."""

import time
from typing import Any

import numpy as np
import pytest

from moderation_service.contracts.bank import Bank, BankAction, BankEntry
from moderation_service.contracts.enums import Route
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.judging.judge import Judge
from moderation_service.judging.near_duplicates import NearDuplicates
from moderation_service.telemetry import metrics
from tests.contracts.examples import CONTENT, IMAGE, verdict
from tests.judging.conftest import MakeJudge, make_image
from tests.judging.test_known_content import COPY, ORIGINAL, OTHER

WORDS = "my holiday"
RNG = np.random.default_rng(3)


async def judged(judge: Judge, post_id: str, *images: ImageRef, text: str = WORDS, **options: Any) -> Verdict:
    post = Post(post_id=post_id, text=text, images=images)
    return (await judge.judge(post, trace_id="a" * 32, **options)).verdict


def of(number: int, *hashes: int, quality: int = 100, text: str = "bb", **changes: Any) -> Verdict:
    """A verdict on images of these hashes."""
    images = [IMAGE.model_copy(update={"pdq": f"{one:064x}", "pdq_quality": quality}) for one in hashes]
    content = CONTENT.model_copy(update={"images": tuple(images), "text_sha256": text})
    return verdict(verdict_id=f"v-{number}", post_id=f"p-{number}", content=content, **changes)


async def test_a_near_copy_is_judged_itself_linked_and_counted(make_judge: MakeJudge) -> None:
    judge, plain = await make_judge(near_duplicates=10), await make_judge()
    before, posts = metrics.NEAR_DUPLICATES._value.get(), (("a", ORIGINAL), ("b", COPY), ("b", COPY))
    first, copy, again = [await judged(judge, name, image) for name, image in posts]
    assert [one.similar_to for one in (first, copy, again)] == [None, first.verdict_id, first.verdict_id]
    assert copy.duplicate_of is None
    unlinked = await judged(plain, "b", COPY)
    assert (unlinked.similar_to, unlinked.verdict_id) == (None, copy.verdict_id)
    assert metrics.NEAR_DUPLICATES._value.get() == before + 2


@pytest.mark.parametrize(
    ("images", "text"),
    [((OTHER,), WORDS), ((COPY,), "other words"), ((COPY, COPY), WORDS), ((), WORDS), ((make_image(),), WORDS)],
)
async def test_another_image_other_words_or_another_number_of_images_are_not_linked(
    make_judge: MakeJudge, images: tuple[ImageRef, ...], text: str
) -> None:
    judge = await make_judge(near_duplicates=10)
    await judged(judge, "a", ORIGINAL)
    await judged(judge, "c", make_image())
    assert (await judged(judge, "b", *images, text=text)).similar_to is None


async def test_all_images_are_near_in_their_order(make_judge: MakeJudge) -> None:
    judge = await make_judge(near_duplicates=10)
    first = await judged(judge, "a", ORIGINAL, OTHER)
    assert (await judged(judge, "b", OTHER, COPY)).similar_to is None
    assert (await judged(judge, "c", COPY, OTHER)).similar_to == first.verdict_id


async def test_what_is_not_published_has_a_route_or_is_of_the_same_post_takes_no_part(make_judge: MakeJudge) -> None:
    judge = await make_judge(near_duplicates=10)
    await judged(judge, "a", ORIGINAL, published=False)
    first = await judged(judge, "b", COPY)
    assert first.similar_to is None
    assert (await judged(judge, "b", ORIGINAL)).similar_to is None
    entry = BankEntry(kind="image_pdq", value=first.content.images[0].pdq or "")
    judge.banks.put_bank(Bank(name="cs", action=BankAction.ESCALATE, route=Route.CHILD_SAFETY), [entry])
    routed = await judged(judge, "c", ORIGINAL)
    assert (routed.route, routed.similar_to) == ("child_safety", None)


def test_the_oldest_goes_first_and_a_linked_verdict_takes_no_room() -> None:
    near = NearDuplicates(2)
    far = [int.from_bytes(RNG.bytes(32)) for _ in range(3)]
    assert [near.find(of(0, far[0])), near.find(of(1, far[0] ^ 1)), near.find(of(2, far[1]))] == [None, "v-0", None]
    assert near.find(of(3, far[0] ^ 2)) == "v-0"
    assert near.find(of(4, far[2])) is None  # in the place of v-0
    assert near.find(of(5, far[0])) is None


@pytest.mark.parametrize(("bits", "quality", "linked"), [(31, 50, True), (32, 50, False), (0, 49, False)])
def test_the_bounds_are_those_of_banks(bits: int, quality: int, *, linked: bool) -> None:
    near, base = NearDuplicates(5), int.from_bytes(RNG.bytes(32))
    near.find(of(0, base, quality=quality))
    assert (near.find(of(1, base ^ ((1 << bits) - 1), quality=quality)) is not None) is linked


def test_off_remembers_nothing_and_an_exact_duplicate_is_not_linked_again() -> None:
    assert [NearDuplicates(0).find(of(number, 5)) for number in range(2)] == [None, None]
    near = NearDuplicates(5)
    assert [near.find(of(0, 5)), near.find(of(1, 5, duplicate_of="v-0"))] == [None, None]


@pytest.mark.parametrize("alike", [False, True])
def test_a_post_costs_little_beside_10_000_remembered_however_alike_they_are(*, alike: bool) -> None:
    near, base = NearDuplicates(10_000), int.from_bytes(RNG.bytes(32))
    first = [base if alike else int.from_bytes(RNG.bytes(32)) for _ in range(10_000)]
    for number, one in enumerate(first):
        near.find(of(number, one, int.from_bytes(RNG.bytes(32))))
    asked, taken = of(10_001, base, 7, route=None), []
    for _ in range(50):
        begun = time.thread_time()
        near.find(asked)
        taken.append(time.thread_time() - begun)
    assert np.median(taken) < 0.001  # 0.05 ms; a loaded machine is slower
