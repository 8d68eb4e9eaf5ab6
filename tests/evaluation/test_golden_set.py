"""Golden sets as files: what is kept of a post, what is not let in, and what is said of a wrong file."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from moderation_service.contracts.bank import Bank, BankEntry
from moderation_service.contracts.enums import AttributionClass
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.errors import Misconfigured
from moderation_service.evaluation.golden_set import ROUTED, Baseline, GoldenSet, JudgedBy, carried
from moderation_service.evaluation.labelled import Labelled, digest
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.readers.bank_files import write_bank
from moderation_service.readers.rows import BadPost
from moderation_service.settings import BankSettings, GoldenSettings, Settings, shipped_policies
from tests.contracts.examples import DIGEST, MODEL


@pytest.fixture
def release(tmp_path: Path) -> GoldenSet:
    return GoldenSet.named(GoldenSettings(path=tmp_path / "golden"), "release")


@pytest.fixture(scope="module")
def pack() -> PolicyPack:
    return load_pack(shipped_policies(), images=False)


async def test_a_set_stands_on_its_own_images_are_carried_and_nothing_of_the_author(
    tmp_path: Path, release: GoldenSet, pack: PolicyPack
) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    post = Post(
        post_id="a",
        revision=3,
        text="Lightly used",
        language="en",
        surface="feed",
        author_id="u-9",
        metadata={"ip": "192.0.2.1"},
        images=(ImageRef(url="file:a.png"),),
    )
    given = Labelled(
        post, {"weapon_sale": True, "doxxing": False}, {"weapon_sale": AttributionClass.COMBINED}, ("new",)
    )
    made = await carried([given], Settings().with_file_root(tmp_path), pack)
    release.save([one for one in made if isinstance(one, Labelled)])
    (tmp_path / "a.png").unlink()

    (found,) = release.load()
    assert (found.labels, found.attribution, found.slices) == (given.labels, given.attribution, given.slices)
    assert found.post.model_copy(update={"images": ()}) == Post(
        post_id="a", revision=3, text="Lightly used", language="en", surface="feed"
    )
    (image,) = found.post.images
    assert base64.b64decode(image.data or "").startswith(b"\x89PNG")
    assert image.media_type == "image/png"


async def test_a_post_whose_image_can_not_be_loaded_is_left_out_and_named(tmp_path: Path, pack: PolicyPack) -> None:
    (tmp_path / "torn.png").write_bytes(b"no image")
    given = [
        Labelled(Post(post_id=name, images=(ImageRef(url=f"file:{name}.png"),)), {"doxxing": False})
        for name in ("torn", "gone")
    ]
    assert await carried(given, Settings().with_file_root(tmp_path), pack) == [
        BadPost("torn", "image 1: undecodable"),
        BadPost("gone", "image 1: unavailable"),
    ]


async def test_a_post_with_a_route_by_its_labels_or_by_a_bank_is_left_out(tmp_path: Path, pack: PolicyPack) -> None:
    bank = Bank(name="hashes", action="block", severity=5, route="child_safety")
    entry = BankEntry(id="t1", kind="terms", value="forbidden words")
    write_bank(tmp_path / "hashes.jsonl", bank, [entry])
    routing = PolicyPack(
        tuple(
            one.model_copy(update={"route": "child_safety"}) if one.id == "minor_contact" else one
            for one in pack.policies
        )
    )
    given = [
        Labelled(Post(post_id="by-bank", text="forbidden words"), {"doxxing": False}),
        Labelled(Post(post_id="by-label", text="hello"), {"minor_contact": True}),
        Labelled(Post(post_id="harmless", text="hello"), {"minor_contact": False}),
    ]
    made = await carried(given, Settings(banks=BankSettings(path=tmp_path)), routing)
    assert made == [BadPost("by-bank", ROUTED), BadPost("by-label", ROUTED), given[2]]


def test_labels_of_a_policy_that_is_gone_are_still_read(release: GoldenSet) -> None:
    release.save([Labelled(Post(post_id="a", text="x"), {"no_longer_there": True})])
    assert release.load()[0].labels == {"no_longer_there": True}


@pytest.mark.parametrize("name", ["", "Release", "../x", "a/b", "a.b", "x" * 65])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(Misconfigured, match="no name of a golden set"):
        GoldenSet.named(GoldenSettings(path=Path()), name)


def test_without_a_folder_there_are_no_sets() -> None:
    with pytest.raises(Misconfigured, match=r"golden\.path: is not set"):
        GoldenSet.every(GoldenSettings())


def test_what_is_missing_is_named_with_the_command_that_makes_it(release: GoldenSet) -> None:
    with pytest.raises(Misconfigured, match="moderation golden add release LABELLED"):
        release.load()
    with pytest.raises(Misconfigured, match="moderation golden baseline release"):
        release.baseline()


@pytest.mark.parametrize("labels", [{"doxxing": False}, {"doxxing": True, "violence": False}])
def test_a_set_that_was_changed_since_its_baseline_has_none(release: GoldenSet, labels: dict[str, bool]) -> None:
    release.save([Labelled(Post(post_id="a", text="x"), {"doxxing": True})])
    by = JudgedBy(policies={}, policy_set_digest=DIGEST, model=MODEL)
    told = Baseline(data=digest(release.load()), recorded_at=datetime.now(UTC), judged_by=by, posts={})
    release.record(told)
    assert release.baseline_of(release.load()) == told
    release.save([Labelled(Post(post_id="a", text="x"), labels)])
    with pytest.raises(Misconfigured, match="changed since the baseline; record it anew"):
        release.baseline_of(release.load())


def test_a_wrong_row_and_a_wrong_baseline_are_named(release: GoldenSet) -> None:
    release.file.parent.mkdir()
    rows = [{"post_id": "a", "text": "x", "labels": {"doxxing": True}}, {"post_id": "b", "text": "x"}]
    release.file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"release.jsonl:2: labels: should be an object"):
        release.load()
    release.baseline_file.write_text("{}", encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"release.baseline.json: data: Field required; record it anew"):
        release.baseline()
