"""An escalation: a post that a bank escalates, or that a bank or policy gives a route of its own."""

from typing import Literal

from moderation_service.contracts.bank import BankAction, BankMatch
from moderation_service.contracts.base import Contract, Identifier, Moment
from moderation_service.contracts.enums import Decision, Route


class Escalation(Contract):
    """The record on the escalation topic, keyed by post, in one transaction with its verdict. It has no words.

    `action` is that of the gravest match, null where a policy alone routes the post; `policies` are those that flag it.
    `case_id` names the case in the legal hold; it is null where the post has no route and so is not held.
    """

    schema_version: Literal["1"] = "1"
    verdict_id: Identifier
    post_id: Identifier
    post_revision: int
    author_id: str | None
    decision: Decision
    route: Route | None
    action: BankAction | None
    matches: tuple[BankMatch, ...]
    policies: tuple[Identifier, ...]
    case_id: Identifier | None
    at: Moment

    def to_json(self) -> bytes:
        """The record's value."""
        return self.model_dump_json().encode()
