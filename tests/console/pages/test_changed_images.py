"""An image that is fetched anew is shown only if it is the one that was judged."""

from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from ipaddress import ip_network

import pytest
from aiohttp import web
from PIL import Image

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import posts, verdicts
from moderation_service.console.store.thumbnails import Thumbnails
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.media.loader import ImageLoader
from moderation_service.settings import MediaSettings
from tests.console.accounts.browser import browser
from tests.console.accounts.conftest import context, quick_hashes
from tests.console.support import served
from tests.contracts.examples import CONTENT, IMAGE, verdict

__all__ = ["context", "quick_hashes"]
CHANGED = "not the image that was judged"


def image(colour: str) -> bytes:
    out = BytesIO()
    Image.new("RGB", (32, 32), colour).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("judged", "is_shown", "says"),
    [
        (sha256(image("green")).hexdigest(), True, None),
        (sha256(image("red")).hexdigest(), False, CHANGED),
        (None, True, "Not judged: it was unavailable then."),
    ],
)
async def test_a_host_that_answers_otherwise_the_second_time_shows_the_reviewer_nothing(
    context: ConsoleContext, judged: str | None, says: str | None, *, is_shown: bool
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=image("green"))

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = int(runner.addresses[0][1])
    post = Post(post_id="p-17", revision=2, text="x", images=(ImageRef(url=f"http://127.0.0.1:{port}/a.png"),))
    content = CONTENT.model_copy(update={"images": (IMAGE.model_copy(update={"sha256": judged}),)})
    async with context.database.begin() as connection:
        await posts.put(connection, post, post.model_dump_json().encode())
        found = verdict(verdict_id="v-1", decision="review", policies=(), shadow=(), content=content)
        await verdicts.put(connection, found, datetime.now(UTC))
    media = MediaSettings(
        allowed_schemes=frozenset({"http"}),
        allowed_networks=frozenset({ip_network("127.0.0.0/8")}),
        allowed_ports=frozenset({port}),
    )
    maker = Thumbnails(context.settings.model_copy(update={"media": media}), context.database)
    async with ImageLoader(media) as loader:
        assert await maker.make(loader) == 1
    await runner.cleanup()

    async with served(context) as address, browser(address) as at:
        await at.log_in()
        page = await (await at.get("/verdicts/v-1")).text()
        assert ("/pictures/0?verdict=v-1" in page) == is_shown
        assert says is None or says in page
        assert (CHANGED in page) == (says == CHANGED)
        assert (await at.get("/pictures/0?verdict=v-1")).status == (200 if is_shown else 404)
        assert (await at.get("/pictures/1?verdict=v-1")).status == 404
