import base64
import itertools

import numpy as np
import pytest

from moderation_service.contracts.engine_input import Language
from moderation_service.demo import glyphs, samples, texts
from moderation_service.demo.glyphs import ImageClass
from moderation_service.demo.images import choose, paint, render
from moderation_service.demo.posts import draft, matched, posts
from moderation_service.demo.texts import INTENTS, Intent, injection, sentence, templates
from moderation_service.demo.truths import PAIRS, RULES, truths
from moderation_service.media.decode import decode
from moderation_service.media.pdq import pdq
from moderation_service.policies.pack import load_pack
from moderation_service.readers.bank_files import load_banks
from moderation_service.settings import MediaSettings, shipped_policies

LANGUAGES: tuple[Language, ...] = ("en", "zh")


def test_the_same_seed_gives_the_same_posts() -> None:
    once, again, other = (list(posts(6, seed)) for seed in (3, 3, 4))
    assert [post.draft for post in once] == [post.draft for post in again]
    assert [[im.tobytes() for im in post.images] for post in once] == [
        [im.tobytes() for im in post.images] for post in again
    ]
    assert [post.draft for post in once] != [post.draft for post in other]


def test_no_pictogram_is_both_trained_and_unseen() -> None:
    trained = {glyph[0] for name in glyphs.CLASSES for glyph in glyphs.TRAINED[name] if len(glyph) < 3}
    for name in glyphs.CLASSES:
        assert len({glyph[0] for glyph in glyphs.UNSEEN[name]} | set(glyphs.UNSEEN[name])) >= 2 or name == "child"
        assert not set(glyphs.UNSEEN[name]) & set(itertools.chain(*glyphs.TRAINED.values()))
    assert not {glyph for name in glyphs.CLASSES for glyph in glyphs.UNSEEN[name] if len(glyph) == 1} & trained


def test_training_never_draws_an_unseen_pictogram() -> None:
    rng = np.random.default_rng(0)
    for name in glyphs.CLASSES:
        assert {choose(name, rng) for _ in range(300)} <= set(glyphs.TRAINED[name])
        assert {choose(name, rng, unseen=True) for _ in range(100)} <= set(glyphs.UNSEEN[name])


def test_every_pictogram_has_a_sprite_of_its_own() -> None:
    drawn = glyphs.sprites()
    assert set(drawn) == set(glyphs.ALL)
    assert all((sprite[..., 3] > 128).mean() > 0.1 for sprite in drawn.values())
    assert len({sprite.tobytes() for sprite in drawn.values()}) == len(glyphs.ALL)


def test_every_intent_keeps_wordings_out_of_training() -> None:
    for intent, language in itertools.product(INTENTS, LANGUAGES):
        trained, held_out = templates(intent, language), templates(intent, language, held_out=True)
        assert len(set(trained)) == len(trained) >= 200
        assert len(set(held_out)) == len(held_out) >= 6
        assert not set(trained) & set(held_out)


def test_sentences_fill_every_slot() -> None:
    rng = np.random.default_rng(0)
    for intent, language in itertools.product(INTENTS, LANGUAGES):
        for held_out in (False, True):
            assert not any("{" in sentence(intent, language, rng, held_out=held_out) for _ in range(80))
    assert injection("en", rng) in texts._wordings()["injections"]["en"]["trained"]


def test_truths_are_told_for_exactly_the_shipped_policies() -> None:
    assert set(RULES) == {policy.id for policy in load_pack(shipped_policies()).policies}


@pytest.mark.parametrize(
    ("shown", "said", "policy", "attribution"),
    [
        ({"weapon"}, {"sale"}, "weapon_sale", "combined"),
        ({"weapon"}, {"neutral"}, "weapon_sale", "none"),
        (set(), {"sale"}, "weapon_sale", "none"),
        ({"gore"}, {"neutral"}, "violence", "image_only"),
        ({"neutral"}, {"threat"}, "violence", "text_only"),
        ({"gore"}, {"threat"}, "violence", "either"),
        ({"weapon"}, {"menace"}, "violence", "combined"),
        ({"weapon"}, {"context"}, "weapon_display", "context_mitigated"),
        ({"weapon"}, {"context", "sale"}, "weapon_display", "image_only"),
        ({"weapon"}, set(), "weapon_display", "image_only"),
        ({"neutral"}, {"dox"}, "doxxing", "text_only"),
    ],
)
def test_truths(shown: set[ImageClass], said: set[Intent], policy: str, attribution: str) -> None:
    told = truths(shown, said)[policy]
    assert told.attribution == attribution
    assert told.violated == (attribution not in {"none", "context_mitigated"})


def test_posts_come_with_none_one_and_several_images_and_in_both_languages() -> None:
    made = [draft(np.random.default_rng([1, number])) for number in range(600)]
    assert {len(post.images) for post in made} == {0, 1, 2, 3}
    assert {post.language for post in made} == {"en", "zh"}
    assert any(not post.text for post in made)
    assert all(post.images or post.text for post in made)
    held_out = [draft(np.random.default_rng([1, number]), held_out=True) for number in range(600)]
    assert not {post.text for post in made if post.text} & {post.text for post in held_out}
    found = {truth.attribution for post in made for truth in post.truths.values()}
    assert found == {"combined", "text_only", "image_only", "either", "context_mitigated", "none"}


def test_the_xor_set_is_balanced_and_only_its_pairs_are_harmful() -> None:
    made = [matched(np.random.default_rng([2, number])) for number in range(400)]
    assert 0.4 < np.mean([harmful for _, harmful in made]) < 0.6
    for post, harmful in made:
        assert any(post.truths[policy].violated for policy in PAIRS) == harmful


def test_images_have_the_size_asked_for_and_show_their_pictogram() -> None:
    rng = np.random.default_rng(5)
    for size in ((112, 112), (90, 160), (200, 60)):
        assert render("animal", rng, size=size).size == size[::-1]
        painted = paint("🐷", rng, size=size)
        assert painted.cover[0][0] == "🐷"
        assert np.asarray(painted.cover[0][1]).max() == 255


def test_the_demos_bank_knows_the_image_of_one_post_and_of_no_other() -> None:
    (loaded,) = banks = load_banks(samples.BANKS)
    assert (len(loaded), loaded.bank.policy) == (1, "financial_scam")
    known = pdq(np.asarray(samples.known_image().convert("RGB")))
    assert [match.distance for match in banks.match_image([known], "0" * 64).enforced] == [0]
    found = [
        post.text
        for post in samples.posts("x")
        for image in post.images
        if image.data
        and banks.match_image(decode(base64.b64decode(image.data), MediaSettings()).hashes, "0" * 64).enforced
    ]
    assert found == ["On my way home from the market"]
