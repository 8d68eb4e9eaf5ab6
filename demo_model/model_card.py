"""The model card, with the figures that were measured."""

from pathlib import Path
from typing import Any

from demo_model import recipe
from demo_model.model import VOCABULARY
from moderation_service.demo import glyphs
from moderation_service.demo.texts import INTENTS, templates

LAYOUTS = ("post_first", "policies_first")
SETS = {
    "trained_wordings": "trained wordings",
    "held_out_wordings": "new wordings",
    "reworded": "new wordings, farther off",
    "unseen_pictograms": "new pictograms",
}
CARD = Path(__file__).with_name("model_card.md")


def write(figures: dict[str, Any], count: int) -> str:
    """The card's text from what `measure` found with `count` posts a set."""
    rows, by_class, xor = [], [], []
    for layout in LAYOUTS:
        own = figures[layout]
        for name, called in SETS.items():
            found, combined = own[name], own[name]["combined"]
            cells = [combined["f1"], combined["precision"], combined["recall"]]
            rows.append(
                f"| {layout} | {called} | {_cells(cells)} | {combined['violations']} |"
                f" {found['attribution_macro_f1']:.3f} |"
            )
        each = own["held_out_wordings"]["attribution_f1"]
        by_class.append(f"| {layout} | {_cells(each.values())} |")
        areas = own["xor_auroc"]
        xor.append(f"| {layout} | {_cells([areas['joint'], areas['text_alone'], areas['image_alone']])} |")
    names = list(figures["post_first"]["held_out_wordings"]["attribution_f1"])
    lost = [figures[layout]["orders_in_the_post"]["violations_lost"] for layout in LAYOUTS]
    low = max(figures[layout]["held_out_wordings"]["label_mass_low_share"] for layout in LAYOUTS)
    return CARD.read_text(encoding="utf-8").format(
        vocabulary=VOCABULARY,
        classes=", ".join(glyphs.CLASSES),
        images=f"{recipe.ROUGH_IMAGES + recipe.MORE_ROUGH_IMAGES + recipe.USUAL_IMAGES:,}",
        intents=", ".join(INTENTS),
        trained=_wordings(held_out=False),
        held_out=_wordings(held_out=True),
        unseen=" ".join(
            glyph for name in glyphs.CLASSES for glyph in glyphs.UNSEEN[name] if glyph[-1] not in glyphs.SKIN
        ),
        see=recipe.SEE.steps,
        see_again=recipe.SEE_AGAIN.steps,
        see_more=recipe.SEE_MORE.steps,
        words=recipe.WORDS.steps,
        read=recipe.READ.steps,
        read_more=recipe.READ_MORE.steps,
        read_last=recipe.READ_LAST.steps,
        command="python -m demo_model.measure",
        count=f"{count:,}",
        rows="\n".join(rows),
        heads=" | ".join(names),
        lines="|".join("---" for _ in names),
        classes_rows="\n".join(by_class),
        xor="\n".join(xor),
        lost=f"{lost[0]:.1%}",
        lost_first=f"{lost[1]:.1%}",
        low=f"{low:.2%}",
    )


def _cells(values: Any) -> str:  # noqa: ANN401 - any numbers
    return " | ".join(f"{value:.3f}" for value in values)


def _wordings(*, held_out: bool) -> int:
    return sum(len(templates(intent, language, held_out=held_out)) for intent in INTENTS for language in ("en", "zh"))
