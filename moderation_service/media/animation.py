"""Compositor of animations (GIF, APNG): patches onto a canvas, by the rules that browsers share."""

from collections.abc import Callable, Collection, Iterator

from PIL import Image

from moderation_service.media.containers.container import CLEAR, RESTORE, Container, Patch


def composed(
    container: Container, wanted: Collection[int], decoded: Callable[[Patch], Image.Image]
) -> Iterator[Image.Image]:
    """The wanted frames in their order, RGBA, of a canvas that starts out transparent. `decoded` gives RGBA."""
    size = container.width, container.height
    canvas = Image.new("RGBA", size)
    for number, patch in enumerate(container.patches[: max(wanted) + 1]):
        image = decoded(patch)
        right, bottom = min(patch.left + image.width, size[0]), min(patch.top + image.height, size[1])
        box = patch.left, patch.top, max(right, patch.left), max(bottom, patch.top)
        image = image.crop((0, 0, box[2] - box[0], box[3] - box[1]))
        before = canvas.crop(box) if patch.dispose == RESTORE else None
        if patch.over:
            canvas.alpha_composite(image, box[:2])
        else:
            canvas.paste(image, box)
        if number in wanted:
            yield canvas.copy()
        if patch.dispose == CLEAR:
            canvas.paste((0, 0, 0, 0), box)
        elif before:
            canvas.paste(before, box)
