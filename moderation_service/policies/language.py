"""In which language a post is judged."""

from typing import NamedTuple

from moderation_service.contracts.engine_input import Language
from moderation_service.languages.detection import language_of_text
from moderation_service.languages.tags import names_language
from moderation_service.policies.pack import PolicyPack


class PostLanguage(NamedTuple):
    """`judged` is the pack's language to judge in; `detected` that of the words, where the post names none."""

    judged: Language
    detected: Language | None


def language_of(setting: str, post_language: str | None, text: str, pack: PolicyPack) -> PostLanguage:
    """The pack's language for the post's tag, else for the language of its words; `setting` unless it is `auto`.

    A tag that names no language counts as none. A post in no language of the pack is judged in the pack's default.
    """
    tag = post_language if post_language and names_language(post_language) else None
    detected = None if tag else language_of_text(text, pack.languages)
    return PostLanguage(pack.language_for((tag or detected) if setting == "auto" else setting), detected)
