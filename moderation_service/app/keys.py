"""`moderation keys`: make, show and revoke the keys of the API."""

import json
from collections.abc import Collection

from moderation_service.console.store import keys
from moderation_service.console.store.database import own_database
from moderation_service.settings import Settings
from moderation_service.telemetry.audit import user


async def create(settings: Settings, name: str, scopes: Collection[str]) -> str:
    """Make a key; it is shown this once. The entry for the audit waits in the database for a console to send it."""
    async with own_database(settings) as database:
        return await keys.create(database, settings.kafka, name, scopes, actor=user())


async def revoke(settings: Settings, key_id: str) -> None:
    """Refuse a key from now on."""
    async with own_database(settings) as database:
        await keys.revoke(database, settings.kafka, key_id, actor=user())


async def rows(settings: Settings) -> list[str]:
    """A JSON line a key, without its secret."""
    async with own_database(settings) as database:
        return [
            json.dumps(
                {
                    "key_id": key.key_id,
                    "name": key.name,
                    "scopes": sorted(key.scopes),
                    "created_at": key.created_at.isoformat(),
                    "revoked_at": key.revoked_at and key.revoked_at.isoformat(),
                }
            )
            for key in await keys.listed(database)
        ]
