from collections import Counter
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from moderation_service.contracts.enums import AttributionClass
from moderation_service.demo.benchmark import SLICES, TOGETHER, benchmark, calibration_posts
from moderation_service.demo.disguise import SPELLINGS, again, written
from moderation_service.demo.posts import matched
from moderation_service.demo.texts import INTENTS, templates
from moderation_service.demo.truths import PAIRS
from moderation_service.evaluation.labelled import Labelled, digest

SMALL = 0.02


@pytest.fixture(scope="module")
def made() -> list[Labelled]:
    return list(benchmark(seed=3, scale=SMALL))


def of(made: list[Labelled], name: str) -> Iterator[Labelled]:
    return (one for one in made if name in one.slices)


def test_the_same_seed_gives_the_same_posts_and_another_gives_others(made: list[Labelled]) -> None:
    assert digest(made) == digest(benchmark(seed=3, scale=SMALL))
    assert digest(made) != digest(benchmark(seed=4, scale=SMALL))


def test_the_usual_set_has_over_4000_posts_in_the_overall_figures(made: list[Labelled]) -> None:
    a_family = {
        "confounder_twins": 3,
        "text_only": 2,
        "image_only": 2,
        "either": 2,
        "mitigated": 2,
        "near_duplicates": 2,
    }
    assert sum(part.families * a_family.get(name, 1) for name, part in SLICES.items() if not part.apart) >= 4000
    assert {name for one in made for name in one.slices} >= set(SLICES)
    for name, part in SLICES.items():
        assert all(one.apart == part.apart for one in of(made, name))


def test_ids_are_unique_and_twins_are_there(made: list[Labelled]) -> None:
    ids = Counter(one.post.post_id for one in made)
    assert set(ids.values()) == {1}
    assert all(one.twin_of in ids for one in made if one.twin_of)


def test_labels_and_attribution_go_together(made: list[Labelled]) -> None:
    for one in made:
        for policy, cls in one.attribution.items():
            assert one.labels[policy] == cls.is_violation


def test_confounder_twins_are_harmless_and_share_a_half(made: list[Labelled]) -> None:
    families = list(of(made, "confounder_twins"))
    for whole, same_image, same_words in zip(families[::3], families[1::3], families[2::3], strict=True):
        assert "combined" in whole.attribution.values()
        for twin in (same_image, same_words):
            assert twin.twin_of == whole.post.post_id
            assert "combined" not in twin.attribution.values()
        assert (same_image.post.images, same_words.post.text) == (whole.post.images, whole.post.text)
        assert same_image.post.text != whole.post.text
        assert same_words.post.images != whole.post.images


@pytest.mark.parametrize("name", ["text_only", "image_only", "either"])
def test_a_slice_named_after_a_class_holds_it(made: list[Labelled], name: AttributionClass) -> None:
    posts = list(of(made, name))
    assert all(name in one.attribution.values() for one in posts if one.twin_of is None)
    assert any(not any(one.labels.values()) for one in posts) or name == "either"


def test_mitigated_posts_have_a_context_that_their_twins_lack(made: list[Labelled]) -> None:
    told = [set(one.attribution.values()) for one in of(made, "mitigated")]
    assert any("context_mitigated" in classes for classes in told[::2])
    assert all(classes & {"combined", "image_only"} for classes in told[1::2])


def test_a_missing_images_post_is_labelled_only_where_the_words_decide(made: list[Labelled]) -> None:
    for one in of(made, "missing_picture"):
        assert {"doxxing"} <= set(one.labels)
        assert not set(one.labels) & {"weapon_sale", "minor_contact"} or not any(
            one.labels.get(policy) for policy in PAIRS
        )
        assert not one.attribution


def test_copies_differ_from_their_original_in_one_thing(made: list[Labelled]) -> None:
    originals = {one.post.post_id: one for one in made}
    for name in ("adversarial_spelling", "injection"):
        for one in of(made, name):
            assert one.twin_of
            original = originals[one.twin_of]
            assert one.labels == original.labels
            words, images = one.post.text != original.post.text, one.post.images != original.post.images
            assert (words, images) == ((False, True) if "injection_picture" in one.slices else (True, False))


def test_neither_half_of_the_xor_set_says_anything_of_the_answer() -> None:
    """A model that knows image class, or intent, exactly does no better than chance; with both it knows."""
    drawn = [matched(np.random.default_rng([1, number, 2]), held_out=True) for number in range(2000)]
    harmful = np.array([same for _, same in drawn])
    classes = np.array([[pair[0] in sketched.images for pair in TOGETHER] for sketched, _ in drawn], float)
    intents = np.array([[pair[1] in sketched.intents for pair in TOGETHER] for sketched, _ in drawn], float)
    train, test = slice(0, 1000), slice(1000, None)
    for half in (classes, intents):
        told = LogisticRegression().fit(half[train], harmful[train]).predict_proba(half[test])[:, 1]
        assert 0.42 < roc_auc_score(harmful[test], told) < 0.58
    both = np.einsum("np,nq->npq", classes, intents).reshape(len(drawn), -1)
    told = LogisticRegression().fit(both[train], harmful[train]).predict_proba(both[test])[:, 1]
    assert roc_auc_score(harmful[test], told) == 1.0


def test_calibration_posts_share_no_words_with_the_held_out_ones(made: list[Labelled]) -> None:
    posts = list(islice(calibration_posts(30), 30))
    plain = {one.post.text for one in of(made, "held_out_wordings")}
    assert not {one.post.text for one in posts if one.post.text} & plain
    assert all(not set(templates(i, "en")) & set(templates(i, "en", held_out=True)) for i in INTENTS)


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("text", ["Selling a spare key, $5", "九成新，价格私聊"])
def test_a_disguise_changes_the_spelling(name: str, text: str) -> None:
    disguised = SPELLINGS[name](text, np.random.default_rng(0))
    assert disguised != text


def test_words_are_written_below_an_image_and_cover_nothing_of_it() -> None:
    blank = Image.new("RGB", (112, 112), "red")
    inked = np.asarray(written(blank, "Lightly used, DM me for the price"))
    assert (inked[:112] == (255, 0, 0)).all()
    assert (inked[112:].sum(-1) < 200).sum() > 30, "dark letters"
    assert again(blank, np.random.default_rng(0)).size <= blank.size
