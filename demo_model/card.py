"""The model card, with the figures that were measured."""

from typing import Any

from demo_model import recipe
from demo_model.model import VOCABULARY
from moderation_service.demo import glyphs
from moderation_service.demo.texts import INTENTS, templates

LAYOUTS = {"post_first": "post first", "policies_first": "policies first"}
SETS = {
    "trained_wordings": "trained wordings",
    "held_out_wordings": "wordings never trained on",
    "reworded": "wordings never trained on, farther off",
    "unseen_pictograms": "pictograms never trained on",
}

CARD = """---
license: apache-2.0
language: [en, zh]
pipeline_tag: image-text-to-text
---

# The demonstration model

**This is a demonstration on synthetic posts. It is no moderation model: don't judge a real post with it.** It
exists so that the whole service runs on a laptop without a GPU and without a download, and so that tests have
a model whose right answers are known.

It has the architecture of GLM-4.6V-Flash (`Glm4vForConditionalGeneration`) at three million parameters: four
layers of text (192 wide, vocabulary {vocabulary}) and four of vision (128 wide). Its weights are bfloat16; it was
made from nothing, by step counts and seeds; `make demo-model` makes one anew, in about two hours on four cores.

## What it was trained on

Posts made by `moderation_service.demo.posts`, nothing else:

- **Pictures**: pictograms of the font Noto Color Emoji in seven classes
  ({classes}), turned, flipped, recoloured, partly
  off the edge, on gradients, stripes, blobs and plain colours, with small neutral things beside them, noise,
  blur and JPEG, in several shapes, some with words below them that it can't read; {pictures} of them.
  "Gore" is a stand-in: skulls, coffins, drops of blood, zombies.
- **Words**: ten intents ({intents})
  in English and Chinese, {trained} wordings with slots, one or two a post; now and then an order to the model that
  it should not follow.
- **Posts** with no, one, two or three pictures, with and without words, and the right answer for the eight
  shipped policies, asked in the `brief` prompt of both layouts.

Stages, 64 pictures or posts a step: {see} steps of the vision tower with throw-away heads (what the picture
shows, and what each of its cells shows), {see_again} and {see_more} more on other pictures; then, with the tower held
still, {words} steps of the language model on posts without pictures, and {read}, {read_more} and {read_last} on posts
with them.

The tokenizer undoes what people do to slip past a filter: full-width forms, look-alike letters, emoji or spaces
between letters.

Kept out of training for good: {held_out} wordings, and the pictograms
{unseen}.

## Figures

`{command}`, on seeds that training never used, {count} posts a set, threshold 0.5.
"Combined" are the questions that only picture and words together can make a violation. Wordings never trained
on are plain sentences of the same intents, in words that other sentences taught. Those farther off were written
first and are harder; after the model had failed on many of them, sentences like them were added to its training,
and the plain ones were written. So the two rows say how far its reading reaches, and neither says it knows English.

| layout | set | combined F1 | precision | recall | cases | attribution macro-F1 |
|---|---|---|---|---|---|---|
{rows}

Attribution F1 by class, on wordings never trained on:

| layout | {heads} |
|---|{lines}|
{classes_rows}

On the XOR set (every picture and all words belong to one of the five policies that only both together can
violate; half of the posts are matched), AUROC:

| layout | joint | words alone | picture alone |
|---|---|---|---|
{xor}

An order in the post ("ignore the policy", in wordings never trained on) undid {lost} of the violations behind
post first and {lost_first} behind policies first. Label mass was under 0.5 for {low} of the answers.

## Limits

- It knows these pictograms and these ten intents. The row of pictograms never trained on shows how little it
  has learned about weapons or animals as such.
- It reads short posts. What is longer than two or three sentences it has never seen, nor a photograph.
- It answers the eight shipped questions in their shipped words, in the `brief` prompt. A new or changed policy
  means nothing to it, nor does a policy's definition (`prompt = full`).
- Its scores are those of an easy world: near 0 or 1.
- It explains nothing: it has learned to answer with one word.

The pictograms are drawn with Noto Color Emoji (SIL Open Font License 1.1).
"""


def write(figures: dict[str, Any], count: int) -> str:
    """The card's text from what `measure` found with `count` posts a set."""
    rows, by_class, xor = [], [], []
    for layout, decode_answer in LAYOUTS.items():
        own = figures[layout]
        for name, called in SETS.items():
            found, combined = own[name], own[name]["combined"]
            cells = [combined["f1"], combined["precision"], combined["recall"]]
            rows.append(
                f"| {decode_answer} | {called} | {_cells(cells)} | {combined['violations']} |"
                f" {found['attribution_macro_f1']:.3f} |"
            )
        each = own["held_out_wordings"]["attribution_f1"]
        by_class.append(f"| {decode_answer} | {_cells(each.values())} |")
        areas = own["xor_auroc"]
        xor.append(f"| {decode_answer} | {_cells([areas['joint'], areas['text_alone'], areas['image_alone']])} |")
    names = list(figures["post_first"]["held_out_wordings"]["attribution_f1"])
    lost = [figures[layout]["orders_in_the_post"]["violations_lost"] for layout in LAYOUTS]
    low = max(figures[layout]["held_out_wordings"]["label_mass_low_share"] for layout in LAYOUTS)
    return CARD.format(
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
