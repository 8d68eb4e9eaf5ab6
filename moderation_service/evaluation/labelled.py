"""A labelled post: what a person, or the maker of a set, says is right for it."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from moderation_service.contracts.enums import AttributionClass
from moderation_service.contracts.post import Post


@dataclass(frozen=True, slots=True)
class Labelled:
    """A post and what is known of it.

    `labels` says by policy id whether the post violates it; a policy that is missing is unknown, not "no".
    `attribution` says where the violation lies, for policies of `labels`. `twin_of` is the id of the post that
    this one was made from. `apart` keeps it out of the overall figures: its slices have rows of their own.
    """

    post: Post
    labels: Mapping[str, bool]
    attribution: Mapping[str, AttributionClass] = field(default_factory=dict)
    slices: tuple[str, ...] = ()
    twin_of: str | None = None
    apart: bool = False

    @property
    def family(self) -> str:
        """Shared by a post and those made from it: they are drawn, and held out, together."""
        return self.twin_of or self.post.post_id


def digest(labelled: Iterable[Labelled]) -> str:
    """`sha256:` over every post with its labels, in their order: what a figure or a calibration was made from."""
    running = hashlib.sha256()
    for one in labelled:
        running.update(one.post.model_dump_json().encode())
        known = [
            *sorted(one.labels.items()),
            *sorted(one.attribution.items()),
            *one.slices,
            one.twin_of,
            one.apart,
        ]
        running.update(repr(known).encode())
    return f"sha256:{running.hexdigest()}"
