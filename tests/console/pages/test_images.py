"""The documents' images, made of the pages as they are: `make console-images` writes them into docs/images."""

import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import expect
from rich.console import Console
from rich.terminal_theme import MONOKAI

from moderation_service.cli.demo import run_demo
from moderation_service.cli.model import check_model
from moderation_service.cli.model_tables import shown
from moderation_service.console.context import ConsoleContext
from moderation_service.settings import BareSettings, EngineSettings
from tests.conftest import skip_or_fail
from tests.console.audited_stream import keep_stream
from tests.console.pages.browsing import CHROMIUM, DESK, PHONE, Visit, browser, missing_browser, save
from tests.console.pages.filled import fill, ran

Visits = Callable[..., Any]
CJK = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"


@pytest.mark.timeout(400)
async def test_the_images_of_the_documents_can_be_made(
    judging: ConsoleContext, visit: Visits, weapon: Path, tmp_path: Path
) -> None:
    if not has_chinese():
        skip_or_fail("no Chinese font: apt-get install fonts-noto-cjk")
    folder = Path(os.environ.get("CONSOLE_IMAGES", tmp_path))
    await fill(judging.database, judging.pack, 84, decided=30)
    await ran(judging.database, judging.pack)
    seen = await visit(color_scheme="light", **DESK)
    await seen.go("/?policy_id=weapon_sale&language=en")
    await seen.take("Enter")
    await keep(seen, folder / "console-queue.png")
    for name, path in {"overview": "/overview", "policies": "/policies"}.items():
        await seen.go(path)
        await keep(seen, folder / f"console-{name}.png")
    await seen.go("/verdicts?decision=block")
    await seen.page.locator("tbody a").first.click()
    await expect(seen.page.locator(".proof").first).to_be_visible()
    await keep(seen, folder / "console-verdict.png")
    dark = await visit(color_scheme="dark", locale="zh-CN", **DESK)
    dark.expected = ("htmx:",)
    await dark.go("/try")
    await dark.page.set_input_files("input[type=file]", weapon)
    await dark.page.fill("#text", "九成新，价格私聊")
    await expect(dark.page.locator(".evidence")).to_have_count(2)  # the image alone is found before the words are there
    await expect(dark.page.locator("#trial")).not_to_have_class("htmx-request")
    await keep(dark, folder / "console-try.png")
    phone = await visit(color_scheme="light", **PHONE)
    await phone.go("/")  # the post is still in hand
    await expect(phone.page.locator(".case")).to_be_visible()
    await keep(phone, folder / "console-phone.png")
    await keep_stream(judging.database)
    await seen.go("/quality")
    await keep(seen, folder / "console-quality.png")
    assert len(made(folder)) == 7


async def test_the_image_of_the_model_check_can_be_made(tmp_path: Path) -> None:
    if missing_browser():
        skip_or_fail(f"no {CHROMIUM}: apt-get install chromium")
    settings = BareSettings(engine=EngineSettings(device="cpu"))
    report, checked = await check_model(settings)
    terminal = Console(record=True, width=120, file=StringIO(), markup=False, highlight=False)
    terminal.print(*shown(report, checked, report.findings(checked)), sep="\n")
    path = Path(os.environ.get("CONSOLE_IMAGES", tmp_path)) / "model-check.png"
    async with browser() as chromium:
        page = await chromium.new_page(viewport={"width": 1040, "height": 800})
        await page.set_content(terminal.export_html(theme=MONOKAI))
        save(await page.screenshot(full_page=True), path)
    with Image.open(path) as made:
        assert made.height > 600


async def test_the_image_of_the_demo_can_be_made(tmp_path: Path) -> None:
    if missing_browser():
        skip_or_fail(f"no {CHROMIUM}: apt-get install chromium")
    report = await run_demo(None)
    async with browser() as chromium:
        page = await chromium.new_page(viewport={"width": 1040, "height": 900}, color_scheme="light")
        await page.set_content(report.page())
        save(await page.screenshot(), Path(os.environ.get("CONSOLE_IMAGES", tmp_path)) / "demo-report.png")


def has_chinese() -> bool:
    return Path(CJK).exists()


def made(folder: Path) -> list[Path]:
    return list(folder.glob("console-*.png"))


async def keep(seen: Visit, path: Path) -> None:
    """The window as a small image; the style that the browser's driver adds for it is refused, as it should be."""
    seen.expected = (*seen.expected, "inline style")
    await seen.page.wait_for_function("() => [...document.images].every(one => one.complete)")
    save(await seen.page.screenshot(), path)
