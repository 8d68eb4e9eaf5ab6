"""Multimodal content moderation on Kafka: posts in, proven verdicts out."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moderation_service.app.moderator import Moderator

__all__ = ["Moderator", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import `Moderator` when it is asked for: with the model's libraries it takes seconds."""
    if name == "Moderator":
        from moderation_service.app.moderator import Moderator  # noqa: PLC0415

        return Moderator
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
