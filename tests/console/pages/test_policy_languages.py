"""Policies on the pages, in whatever languages they are written."""

from pathlib import Path

from moderation_service.console.accounts.sessions import open_session
from moderation_service.console.context import ConsoleContext
from moderation_service.policies.pack import load_pack
from tests.console.accounts.browser import browser
from tests.policies.german import german_pack


async def shown(context: ConsoleContext, address: str, path: str, language: str) -> str:
    """The page as mei sees it, whose browser asks for this language."""
    async with context.database.begin() as connection:
        token = await open_session(connection, "mei", hours=1)
    async with browser(address) as http:
        answer = await http.get(path, headers={"Accept-Language": language, "Cookie": f"session={token}"})
        assert answer.status == 200
        return await answer.text()


async def test_a_pack_in_german_alone_is_shown_in_german_whatever_the_page_is_in(
    context: ConsoleContext, address: str, tmp_path: Path
) -> None:
    context.pack = load_pack(german_pack(tmp_path / "pack"))
    question = '<p class="question" lang="de" dir="auto">Wird eine Waffe verkauft, z. B. ein Messer?</p>'
    for language in ("en", "zh-TW", "es", "de"):
        assert question in await shown(context, address, "/policies/weapon_sale", language), language
        for path in ("/policies", "/"):
            assert "Verkauf von Waffen" in await shown(context, address, path, language), (path, language)


async def test_a_page_in_a_language_that_the_pack_lacks_shows_the_packs_default(
    context: ConsoleContext, address: str, tmp_path: Path
) -> None:
    folder = german_pack(tmp_path / "pack", en="Say:")
    (folder / "pack.yaml").write_text("default_language: de\n", encoding="utf-8")
    context.pack = load_pack(folder)
    spanish, english = [await shown(context, address, "/policies", language) for language in ("es", "en-GB")]
    assert ("Verkauf von Waffen" in spanish, "Say: Verkauf von Waffen" in spanish) == (True, False)
    assert "Say: Verkauf von Waffen" in english
