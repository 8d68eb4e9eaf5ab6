"""What holds a console is a metric too, which no worker has."""

from pathlib import Path

import aiohttp
import pytest

from moderation_service.app.console import running_console
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store.database import open_database
from moderation_service.policies.pack import load_pack
from moderation_service.settings import BareSettings, ConsoleSettings, KafkaSettings, shipped_policies

NOWHERE = KafkaSettings(bootstrap_servers="127.0.0.1:1")


@pytest.mark.parametrize("what", ["ingest", "outbox", "banks"])
async def test_a_part_of_the_console_that_waits_is_one_and_else_zero(what: str, tmp_path: Path) -> None:
    settings = BareSettings(kafka=NOWHERE, console=ConsoleSettings(host="127.0.0.1", port=0, ops_port=0))
    pack = load_pack(shipped_policies(), images=False)
    async with open_database(f"sqlite:///{tmp_path / 'console.db'}") as database, aiohttp.ClientSession() as http:
        context = ConsoleContext(settings, database, pack)
        async with running_console(context) as (_, ops_port):

            async def told() -> set[str]:
                async with http.get(f"http://127.0.0.1:{ops_port}/metrics") as answer:
                    return {
                        line
                        for line in (await answer.text()).splitlines()
                        if line.startswith("moderation_console_held")
                    }

            names = {name: f'moderation_console_held{{what="{name}"}}' for name in ("ingest", "outbox", "banks")}
            assert await told() == {f"{name} 0.0" for name in names.values()}
            context.held.add(f"{what}: Kafka does not answer")
            assert await told() == {f"{line} {float(name == what)}" for name, line in names.items()}
