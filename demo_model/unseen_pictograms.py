"""How often each pictogram that was never trained on is found, by the bundled model: a Markdown table.

Each is painted on 40 images, beside words with which its class violates a policy; gore violates by itself.
"""

import numpy as np

from demo_model.measure import THRESHOLD, Reader
from moderation_service.demo.glyphs import SKIN, UNSEEN
from moderation_service.demo.images import paint
from moderation_service.demo.posts import Draft, LabelledPost
from moderation_service.demo.texts import sentence
from moderation_service.demo.truths import PAIRS
from moderation_service.settings import DEMO_MODEL

IMAGES, SEED = 40, 9007
POLICIES = {cls: (policy, intent) for policy, (cls, intent) in PAIRS.items()} | {"gore": ("violence", "neutral")}


def main() -> None:
    """Print it."""
    reader = Reader(DEMO_MODEL, "post_first")
    print("| class | pictogram | found |", "|---|---|---|", sep="\n")
    for cls, (policy, intent) in POLICIES.items():
        for glyph in (glyph for glyph in UNSEEN[cls] if not any(tone in glyph for tone in SKIN)):
            rngs = [np.random.default_rng([SEED, number]) for number in range(IMAGES)]
            posts = [
                LabelledPost(Draft((cls,), (intent,), sentence(intent, "en", rng), "en"), (paint(glyph, rng).image,))
                for rng in rngs
            ]
            found = reader.read(posts).scores[:, 0, reader.policies.index(policy)] >= THRESHOLD
            print(f"| {cls} | {glyph} | {found.mean():.0%} |")


if __name__ == "__main__":
    main()
