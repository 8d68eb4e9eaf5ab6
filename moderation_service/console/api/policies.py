"""`GET /v1/policies`: the policies in force, and which categories of other taxonomies they cover."""

from typing import Self

from pydantic import BaseModel
from starlette.responses import Response

from moderation_service.console.api.operation import Call
from moderation_service.policies.categories import Taxonomy
from moderation_service.policies.coverage import coverage
from moderation_service.policies.model import Policy


class PolicySummary(BaseModel):
    """What a policy is, without its text and thresholds. `may_block`: false where only a person may block by it."""

    id: str
    version: int
    digest: str
    title: dict[str, str]
    severity: int
    may_block: bool
    owner: str | None
    jurisdictions: list[str]

    @classmethod
    def of(cls, policy: Policy) -> Self:
        """Of one policy."""
        return cls(
            id=policy.id,
            version=policy.version,
            digest=policy.digest,
            title=policy.title.model_dump(),
            severity=policy.severity,
            may_block=policy.thresholds.block is not None,
            owner=policy.owner,
            jurisdictions=list(policy.jurisdictions),
        )


class CoveredCategory(BaseModel):
    """A category of a taxonomy and the ids of the policies that cover it.

    There are none where nothing checks it; `reason` is then the pack's, if it gives one.
    """

    taxonomy: Taxonomy
    category: str
    policies: list[str]
    reason: str | None


class PolicyList(BaseModel):
    """The policies that decide, sorted by id. `digest` is the pack's, as verdicts name it."""

    digest: str
    policies: list[PolicySummary]
    categories: list[CoveredCategory]


async def listed(call: Call) -> Response:
    """List the policies in force, and the categories of AILuminate, the DSA and OpenAI that they cover."""
    pack = call.context.pack
    answer = PolicyList(
        digest=pack.digest,
        policies=[PolicySummary.of(policy) for policy in pack.enforced],
        categories=[
            CoveredCategory(
                taxonomy=one.taxonomy, category=one.category, policies=list(one.policies), reason=one.reason
            )
            for one in coverage(pack)
        ],
    )
    return Response(answer.model_dump_json(), media_type="application/json")
