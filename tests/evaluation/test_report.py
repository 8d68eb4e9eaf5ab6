import base64
import re
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from moderation_service.contracts.post import ImageRef, Post
from moderation_service.evaluation import plots
from moderation_service.evaluation.answers import answers
from moderation_service.evaluation.bootstrap import Bootstrap
from moderation_service.evaluation.figures import figures_of
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.report import page, with_images, worst
from moderation_service.evaluation.run import JudgedPost
from moderation_service.media.loader import ImageLoader
from moderation_service.settings import MediaSettings
from tests.contracts.examples import IMAGE
from tests.evaluation.made import judged, run
from tests.judging.conftest import make_image

VOID = {"meta", "img", "input", "br"}


def posts(count: int = 60) -> list[JudgedPost]:
    rng = np.random.default_rng(0)
    made = []
    for at in range(count):
        bad = at % 3 == 0
        score = float(np.clip(rng.normal(0.7 if bad else 0.3, 0.2), 0, 1))
        made.append(
            judged(
                f"p{at}",
                {"sale": bad},
                {"sale": (score, score / 3, score / 4)},
                meant={"sale": "combined" if bad else "none"},
                slices=("xor",) if at % 2 else ("hard",),
                apart=at % 10 == 9,
            )
        )
    return made


class Page(HTMLParser):
    """Counts tags, checks that they close in order, and keeps every address."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.addresses: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name.split(":")[-1] in {"src", "href", "action"}]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_worst_errors_are_the_surest_wrong_answers() -> None:
    made = [
        judged("right", {"sale": True}, {"sale": (0.9, 0.1, 0.1)}),
        judged("sure", {"sale": False}, {"sale": (0.99, 0.1, 0.1)}),
        judged("near", {"sale": True}, {"sale": (0.4, 0.1, 0.1)}, meant={"sale": "combined"}),
        judged("missed", {"sale": True}, {"sale": (0.05, 0.1, 0.1)}),
        judged("unasked", {"doxxing": True}, {"sale": (0.1, 0.1, 0.1)}),
        judged("apart", {"sale": True}, {"sale": (0.0, 0.1, 0.1)}, apart=True),
    ]
    found = worst(made)
    assert [one.judged.labelled.post.post_id for one in found] == ["unasked", "sure", "missed", "near", "apart"]
    assert (found[0].found, found[0].truth) == (None, True)
    assert found[3].meant == "combined"
    assert len(worst(made, count=2)) == 2
    assert worst([]) == []


@pytest.fixture
async def made_page() -> str:
    made = posts()
    nasty = Post(
        post_id="<script>alert(1)</script>",
        text="<img src=https://evil.example/x.png> or call 13812345678",
        images=(make_image(), ImageRef(data="AAAA"), make_image()),
    )
    wrong = judged("x", {"sale": True}, {"sale": (0.01, 0.1, 0.1)})
    digest = sha256(base64.b64decode(make_image().data or "")).hexdigest()
    images = [IMAGE.model_copy(update={"sha256": sha}) for sha in (digest, None, "of another file")]
    content = wrong.verdict.content.model_copy(update={"images": tuple(images)})
    made.append(JudgedPost(Labelled(nasty, {"sale": True}), wrong.verdict.model_copy(update={"content": content})))
    of = run(*made)
    figures = figures_of(of, source="<posts>.jsonl", left_out=2, bootstrap=Bootstrap(resamples=5))
    async with ImageLoader(MediaSettings()) as loader:
        mistakes = await with_images(worst(of.judged), loader.load)
    assert len(mistakes[0].images) == 1, "what can't be decoded, or is not what was judged, is left out"
    return page(of, figures, mistakes, {"sale": "Sale & more"})


def test_the_report_is_one_page_without_outside_addresses_or_scripts(made_page: str) -> None:
    parsed = Page(made_page)
    assert parsed.open == []
    assert parsed.count["svg"] == 5
    assert "script" not in parsed.count
    assert all(address.startswith(("data:image/", "#")) for address in parsed.addresses)
    assert not re.search(r"url\((?!#)|@import", made_page)
    assert "&lt;script&gt;" in made_page
    assert "or call [phone]" in made_page
    assert "Sale &amp; more" in made_page
    assert "2 wrong rows were left out" in made_page


def test_images_are_blurred_until_asked(made_page: str) -> None:
    style = made_page[made_page.index("<style>") : made_page.index("</style>")]
    assert re.search(r"\.images img \{[^}]*blur", style)
    assert re.search(r"input:checked \+ img \{ filter: none", style)
    shown = re.findall(r'<input type="checkbox"[^>]*><img src="data:image/jpeg', made_page)
    assert len(shown) == 1
    assert " checked" not in made_page.replace(":checked", "")


def test_a_run_with_one_kind_of_answer_and_one_without_any_still_have_a_page(tmp_path: Path) -> None:
    for made in (run(judged("a", {"sale": False}, {"sale": (0.1, 0.1, 0.1)})), run()):
        figures = figures_of(made, source="s", bootstrap=Bootstrap(resamples=3))
        assert Page(page(made, figures, [], {})).open == []


def test_raw_scores_are_drawn_where_a_calibration_changed_them() -> None:
    rows = answers(posts())
    assert ">raw<" not in plots.reliability(rows)
    assert ">raw<" in plots.reliability(replace(rows, raw=rows.raw / 2))


def test_a_plot_is_the_same_each_time_and_two_share_no_id() -> None:
    rows = answers(posts())
    assert plots.reliability(rows) == plots.reliability(rows)
    ids = [re.findall(r' id="(\w{10,})"', plots.precision_recall(rows, name)) for name in ("all", "combined")]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])
