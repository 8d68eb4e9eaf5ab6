import asyncio
import base64
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from aiohttp import web
from PIL import Image

from moderation_service.banks.matcher import BankMatcher
from moderation_service.contracts.bank import Bank, BankAction, BankEntry
from moderation_service.contracts.enums import Mode
from moderation_service.contracts.post import ImageRef
from moderation_service.errors import Transient
from moderation_service.judging.hma import HmaClient, open_hma
from moderation_service.settings import BankSettings
from tests.banks.images import image
from tests.judging.conftest import Ask, MakeJudge
from tests.judging.engines import RuleEngine

KNOWN = {"BANK_A": [{"bank_content_id": 1001, "distance": "4"}], "BANK_B": [{"bank_content_id": 4434, "distance": 0}]}

PAST = datetime(2020, 1, 1, tzinfo=UTC)


def packed(seed: int) -> ImageRef:
    out = io.BytesIO()
    Image.fromarray(image(seed, 400, 300)).save(out, "PNG")
    return ImageRef(data=base64.b64encode(out.getvalue()).decode())


@dataclass
class Hma:
    """Answers as `GET /m/lookup` of hasher-matcher-actioner does; `faults` go before."""

    url: str = ""
    known: object = field(default_factory=dict)
    faults: list[web.Response | float] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)

    async def look_up(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, float):
            await asyncio.sleep(fault)
        return web.json_response(self.known) if fault is None or isinstance(fault, float) else fault


@pytest.fixture
async def hma() -> AsyncIterator[Hma]:
    server, app = Hma(), web.Application()
    app.router.add_get("/m/lookup", server.look_up)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def client(hma: Hma) -> AsyncIterator[HmaClient | None]:
    async with open_hma(BankSettings(hma_url=f"{hma.url}/", hma_timeout_s=0.5)) as opened:
        yield opened


def declared(**properties: object) -> BankMatcher:
    banks = BankMatcher()
    banks.put_bank(Bank.model_validate({"name": "bank_a", "action": BankAction.BLOCK, **properties}))
    return banks


async def test_a_bank_that_is_declared_here_acts_as_it_says_and_another_sends_to_review(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine, hma: Hma, client: HmaClient
) -> None:
    hma.known = KNOWN
    verdict = await ask(await make_judge(hma=client), "museum", packed(1))
    assert (verdict.decision, verdict.decided_by) == ("review", "bank")
    assert [(match.bank, match.entry, match.action, match.distance, match.image) for match in verdict.matches] == [
        ("bank_a", "hma-1001", "review", 4, 0),
        ("bank_b", "hma-4434", "review", 0, 0),
    ]
    asked = len(engine.calls)
    assert verdict.content.images[0].pdq == hma.asked[0]["signal"]
    assert hma.asked[0]["signal_type"] == "pdq"

    blocked = await ask(await make_judge(hma=client, banks=declared(policy="weapon_sale")), "museum", packed(2))
    assert (blocked.decision, blocked.decided_by, blocked.matches[0].policy) == ("block", "bank", "weapon_sale")
    assert len(engine.calls) == asked


@pytest.mark.parametrize(
    ("properties", "matches", "in_shadow"),
    [
        ({"mode": Mode.SHADOW}, 1, 1),
        ({"pdq_threshold": 3}, 1, 0),
        ({"expires_at": PAST}, 1, 0),
    ],
)
async def test_mode_threshold_and_expiry_are_those_declared(
    make_judge: MakeJudge,
    ask: Ask,
    hma: Hma,
    client: HmaClient,
    properties: dict[str, object],
    matches: int,
    in_shadow: int,
) -> None:
    hma.known = KNOWN
    bank = Bank.model_validate({"name": "bank_a", "action": "block", **properties}, strict=False)
    banks = BankMatcher()
    banks.put_bank(bank)
    verdict = await ask(await make_judge(hma=client, banks=declared(**properties)), "museum", packed(1))
    assert (len(verdict.matches), len(verdict.shadow_matches)) == (matches, in_shadow)


async def test_of_very_many_the_nearest_count_in_whatever_order_they_come(
    make_judge: MakeJudge, ask: Ask, hma: Hma, client: HmaClient
) -> None:
    far = [{"bank_content_id": number, "distance": 9} for number in range(30)]
    hma.known = {"BANK_A": [*far, {"bank_content_id": 99, "distance": 0}]}
    verdict = await ask(await make_judge(hma=client, banks=declared(pdq_threshold=8)), "museum", packed(1))
    assert [match.entry for match in verdict.matches] == ["hma-99"]
    verdict = await ask(await make_judge(hma=client, banks=declared()), "museum", packed(1))
    assert [match.entry for match in verdict.matches][:2] == ["hma-99", "hma-0"]
    assert len(verdict.matches) == 20


async def test_an_image_whose_bytes_are_allowed_is_not_taken_for_one_of_theirs(
    make_judge: MakeJudge, ask: Ask, hma: Hma, client: HmaClient
) -> None:
    hma.known = KNOWN
    judge = await make_judge(hma=client)
    sha256 = (await ask(judge, "", packed(1))).content.images[0].sha256
    judge.banks.put_bank(
        Bank(name="ours", action=BankAction.ALLOW),
        [BankEntry(kind="image_sha256", value=str(sha256).removeprefix("sha256:"))],
    )
    verdict = await ask(judge, "", packed(1))
    assert (verdict.decision, [match.bank for match in verdict.matches]) == ("allow", ["ours"])


FAULTS: dict[str, Callable[[], web.Response | float]] = {
    "an error": lambda: web.Response(status=500, text="oops"),
    "not ready": lambda: web.Response(status=503),
    "no such signal type": lambda: web.Response(status=400, text='{"message": "not enabled"}'),
    "garbage": lambda: web.Response(text="<html>"),
    "another shape": lambda: web.Response(text='{"matches": [1, 2]}'),
    "elsewhere": lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}),
    "nothing in time": lambda: 2.0,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_one_fault_is_tried_again_and_at_the_second_the_post_waits(
    make_judge: MakeJudge, ask: Ask, engine: RuleEngine, hma: Hma, client: HmaClient, fault: str
) -> None:
    judge = await make_judge(hma=client)
    hma.faults = [FAULTS[fault]()]
    assert (await ask(judge, "museum", packed(1))).decision == "allow"
    asked, hma.faults = len(engine.calls), [FAULTS[fault](), FAULTS[fault]()]
    with pytest.raises(Transient, match=r"banks\.hma_url: the HMA server does not answer as it should") as error:
        await ask(judge, "museum", packed(2))
    assert (error.value.reason, len(hma.asked), len(engine.calls)) == ("hma", 4, asked)


async def test_words_and_images_without_detail_are_not_asked_about(
    make_judge: MakeJudge, ask: Ask, hma: Hma, client: HmaClient
) -> None:
    judge, out = await make_judge(hma=client), io.BytesIO()
    Image.new("RGB", (200, 200), "red").save(out, "PNG")
    await ask(judge, "hello", ImageRef(data=base64.b64encode(out.getvalue()).decode()))
    assert hma.asked == []


async def test_without_an_address_there_is_no_client() -> None:
    async with open_hma(BankSettings()) as client:
        assert client is None
