"""In which language a post is judged."""

from typing import NamedTuple

from moderation_service.contracts.engine_input import Language
from moderation_service.languages.detection import language_of_text
from moderation_service.languages.tags import names_language
from moderation_service.policies.pack import PolicyPack


class PostLanguage(NamedTuple):
    """`judged` is the pack's language to judge in; `detected` that of the words, where the post names none.

    `shadow` is the language to judge in if the shadow pack were in force; without one it is `judged`.
    """

    judged: Language
    detected: Language | None
    shadow: Language


def language_of(
    setting: str, post_language: str | None, text: str, pack: PolicyPack, shadow_pack: PolicyPack | None = None
) -> PostLanguage:
    """The pack's language for the post's tag, else for the language of its words; `setting` unless it is `auto`.

    A tag that names no language counts as none. A post in no language of the pack is judged in the pack's default.
    """
    tag = post_language if post_language and names_language(post_language) else None
    detected = None if tag else language_of_text(text, pack.languages)
    wanted = (tag or detected) if setting == "auto" else setting
    return PostLanguage(pack.language_for(wanted), detected, (shadow_pack or pack).language_for(wanted))
