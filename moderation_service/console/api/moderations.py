"""`POST /v1/moderations`: OpenAI's request and answer, so that their clients work unchanged; nothing is kept."""

import secrets
from collections.abc import Collection, Iterable, Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError
from starlette.responses import JSONResponse, Response

from moderation_service.console.api.bodies import check_sizes, refused
from moderation_service.console.api.operation import Call
from moderation_service.console.api.problems import Problem
from moderation_service.contracts.base import Contract
from moderation_service.contracts.enums import AbstainReason, Decision
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.contracts.verdict import PolicyVerdict, Probability, Verdict
from moderation_service.policies.categories import OpenAICategory
from moderation_service.policies.pack import PolicyPack

MOST_INPUTS = 32
_NAMED = 20
_CATEGORIES: tuple[str, ...] = get_args(OpenAICategory)

InputType = Literal["text", "image"]
_Words = Annotated[str, Field(min_length=1)]


class TextPart(Contract):
    """Words of an input of several parts."""

    type: Literal["text"]
    text: _Words


class ImageUrl(Contract):
    """A `data:` URL, or an https address from which the image is fetched."""

    url: _Words


class ImagePart(Contract):
    """An image of an input of several parts."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]
_Texts = Annotated[list[_Words], Field(min_length=1, max_length=MOST_INPUTS)]
_Parts = Annotated[list[Part], Field(min_length=1)]


def _form(given: object) -> str | None:
    """Which form of input it is, so that what is wrong is said of that one alone."""
    if isinstance(given, str):
        return "(text)"
    if isinstance(given, list):
        return "(parts)" if given and isinstance(given[0], dict) else "(texts)"
    return None


class ModerationRequest(Contract):
    """A text; several texts, each judged for itself; or the parts of one input, judged together.

    `model` is read and not obeyed: what judges is what this service was started with. `categories`: refuse unless a
    policy covers each of these (OpenAI's names and the policies' ids; `*` for OpenAI's 13). Null stands for
    `console.require_categories`.
    """

    input: Annotated[
        Annotated[_Words, Tag("(text)")] | Annotated[_Texts, Tag("(texts)")] | Annotated[_Parts, Tag("(parts)")],
        Discriminator(
            _form,
            custom_error_type="input_form",
            custom_error_message="should be a text, a list of texts, or a list of parts",
        ),
    ]
    model: str | None = None
    categories: Annotated[list[str], Field(max_length=100)] | None = None


class Moderation(BaseModel):
    """What was found in one input. Categories are OpenAI's 13 and the policies' ids.

    `covered_categories` are those that a policy was asked about for this input; the others are false and 0 unjudged.
    `flagged` is everything but a plain `allow`: also what could not be judged (`abstain`), which a person should see.
    """

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, Probability]
    category_applied_input_types: dict[str, list[InputType]]
    covered_categories: list[str]
    decision: Decision
    abstain_reason: AbstainReason | None


class ModerationAnswer(BaseModel):
    """OpenAI's answer: a result an input."""

    id: str
    model: str
    results: list[Moderation]


async def moderate(call: Call) -> Response:
    """Judge a text, several texts, or words with images, as OpenAI's moderation endpoint does. Nothing is kept."""
    if call.body.categories is None:
        by_default = call.context.settings.console.require_categories
        _check_covered("console.require_categories", by_default, call.seated.judge.pack)
    else:
        _check_covered("categories", call.body.categories, call.seated.judge.pack)
    answer_id = f"modr-{secrets.token_hex(12)}"
    posts = list(_posts(answer_id, call.body.input))
    for post in posts:
        check_sizes(post.images, call.context.settings.media.max_bytes)
    verdicts = await call.seated.each_judged(posts, trace_id=call.trace.trace_id)
    call.tell_of(verdicts)
    results = [moderation_of(verdict, call.seated.judge.pack) for verdict in verdicts]
    answer = ModerationAnswer(id=answer_id, model=verdicts[0].model.name, results=results)
    return JSONResponse(answer.model_dump(mode="json"))


def moderation_of(verdict: Verdict, pack: PolicyPack) -> Moderation:
    """A verdict in OpenAI's form. A category nobody asks about is false, with the score 0 and no input type.

    A category is true with the score 1 where a bank blocks or reviews known content by its policy.
    """
    filled = dict[str, list[PolicyVerdict]]()
    judged = {part.policy_id: part for part in verdict.policies}
    for policy in pack.enforced:
        for name in (policy.id, *policy.openai_category):
            filled.setdefault(name, []).extend([judged[policy.id]] if policy.id in judged else [])
    gravest = {name: max(parts, key=lambda part: part.score, default=None) for name, parts in filled.items()}
    names = [*_CATEGORIES, *sorted(filled.keys() - set(_CATEGORIES))]
    scores = {name: part.score if (part := gravest.get(name)) else 0.0 for name in names}
    types = {name: _input_types(gravest.get(name), verdict) for name in names}
    known = {match.policy: match for match in verdict.matches if match.action.decision}
    by_bank = {
        name: known[policy.id]
        for policy in pack.enforced
        for name in (policy.id, *policy.openai_category)
        if policy.id in known
    }
    for name, match in by_bank.items():
        scores[name], types[name] = 1.0, ["text" if match.image is None else "image"]
    return Moderation(
        flagged=verdict.decision.is_flagged,
        categories={name: name in by_bank or any(part.violated for part in filled.get(name, ())) for name in names},
        category_scores=scores,
        category_applied_input_types=types,
        covered_categories=[name for name in names if filled.get(name) or name in by_bank],
        decision=verdict.decision,
        abstain_reason=verdict.abstain_reason,
    )


def _check_covered(required_by: str, required: Collection[str], pack: PolicyPack) -> None:
    """Raise Problem not_covered where no policy covers a category that is required; `*`: OpenAI's 13."""
    wanted = set(_CATEGORIES).union(required) - {"*"} if "*" in required else set(required)
    missing = sorted(wanted - {name for policy in pack.enforced for name in (policy.id, *policy.openai_category)})
    if missing:
        named = ", ".join(name[:64] for name in missing[:_NAMED])
        raise Problem("not_covered", f"{required_by}: no policy covers {named}; add a policy, or do without")


def _input_types(part: PolicyVerdict | None, verdict: Verdict) -> list[InputType]:
    """Where the violation is, as it was measured; where there is none, or nobody measured, all that was looked at."""
    if part is None:
        return []
    only = part.attribution.class_.only_modality if part.attribution else None
    return [only] if only else [*verdict.content.modalities]


def _posts(answer_id: str, given: str | list[str] | list[TextPart | ImagePart]) -> Iterator[Post]:
    """The posts that an input stands for. Raises Problem wrong_fields."""
    if isinstance(given, str):
        yield _post(answer_id, [given], [])
    elif all(isinstance(one, str) for one in given):
        for number, text in enumerate(given):
            yield _post(f"{answer_id}-{number}", [text], [])
    else:
        texts = [part.text for part in given if isinstance(part, TextPart)]
        yield _post(answer_id, texts, [part.image_url.url for part in given if isinstance(part, ImagePart)])


def _post(post_id: str, texts: Iterable[Any], addresses: Iterable[str]) -> Post:
    try:
        images = tuple(ImageRef(url=address) for address in addresses)
        return Post(post_id=post_id, text="\n".join(texts), images=images)
    except ValidationError as error:
        raise refused(error) from None
