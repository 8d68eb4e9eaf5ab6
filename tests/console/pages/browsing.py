"""Chromium, and a page in it that keeps what went wrong."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, async_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "correct horse battery"
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
DESK = {"viewport": {"width": 1280, "height": 800}}
MOST_BYTES = 150_000


def missing_browser() -> bool:
    """Whether there is no Chromium here."""
    return not Path(CHROMIUM).exists()


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser until the block is left."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield started
        finally:
            await started.close()


def save(screenshot: bytes, path: Path) -> None:
    """An image for the documents, in 256 colours: a third of the bytes."""
    Image.open(BytesIO(screenshot)).convert("RGB").quantize(dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < MOST_BYTES


class Visit:
    """A page of the console in a browser. `faults`: errors, refusals and requests to elsewhere, but for `expected`."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.faults: list[str] = []
        self.expected: tuple[str, ...] = ()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("request", self._request)
        page.on("response", self._response)

    async def log_in(self, user: str) -> None:
        await self.page.goto(f"{self.address}/login")
        await self.page.fill("#user", user)
        await self.page.fill("#password", PASSWORD)
        await self.page.press("#password", "Enter")
        await self.page.wait_for_selector("header.top")

    async def go(self, path: str) -> None:
        await self.page.goto(f"{self.address}{path}")

    async def press(self, key: str) -> None:
        await self.page.keyboard.press(key)

    async def take(self, key: str = "j") -> str:
        """Take another post in hand by a key; its id."""
        before = await self.in_hand()
        await self.press(key)
        await self.page.wait_for_function(
            "before => (document.querySelector('.hand .facts .id')?.textContent ?? '') !== before", arg=before
        )
        return await self.in_hand()

    async def in_hand(self) -> str:
        """The id of the post in hand; empty without."""
        at = self.page.locator(".hand .facts .id").first
        return (await at.text_content() or "") if await at.count() else ""

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(one in message.text for one in self.expected):
            self.faults.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:image/svg+xml;base64")):
            self.faults.append(f"a request to {request.url}")

    def _response(self, response: Response) -> None:
        policy = response.headers.get("content-security-policy", "")
        if "default-src 'none'" not in policy or "unsafe" in policy:
            self.faults.append(f"{response.url}: its policy is {policy!r}")
