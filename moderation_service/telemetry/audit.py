"""What people and administrators do to the service, as a record: who, what, and its digest before and after."""

import getpass
import os
import secrets
import socket
from datetime import UTC, datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from moderation_service import __version__

Action = Literal[
    "policies.taken",
    "dead_letters.redriven",
    "user.added",
    "user.disabled",
    "user.logged_in",
    "login.throttled",
    "review.undone",
    "appeal.filed",
    "post.deleted",
    "erasure.kept_on_hold",
    "images.shown",
    "key.created",
    "key.revoked",
    "bank.put",
    "bank_entry.added",
    "bank_entry.removed",
    "bank_entry.matched_back",
    "legal_hold.listed",
    "legal_hold.read",
    "legal_hold.exported",
    "legal_hold.extended",
    "legal_hold.purged",
]


class AuditEntry(BaseModel):
    """The value of a record of the audit topic; its key is the action. Never words of a post."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal["1"] = "1"
    audit_id: str = Field(default_factory=lambda: secrets.token_hex(16))
    at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    actor: str
    action: Action
    target: str
    before: str | None = None
    after: str | None = None
    details: dict[str, int | str] = {}
    service_version: str = __version__


def process() -> str:
    """This process as an actor, for what it finds changed: who changed it is on record where that was done."""
    return f"service:{socket.gethostname()}:{os.getpid()}"


def user() -> str:
    """Whoever gave a command, as an actor."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        name = str(os.getuid())
    return f"user:{name}@{socket.gethostname()}"


def reviewer(name: str) -> str:
    """A user of the console, as an actor."""
    return f"reviewer:{name}"
