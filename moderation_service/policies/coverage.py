"""Which categories of other taxonomies the policies in force cover."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Literal, NamedTuple, get_args

from moderation_service.contracts.statement import DsaCategory
from moderation_service.policies.categories import AiluminateCategory, OpenAICategory
from moderation_service.policies.pack import PolicyPack

Taxonomy = Literal["ailuminate", "dsa", "openai"]
CATEGORIES: Mapping[Taxonomy, tuple[str, ...]] = {
    "ailuminate": get_args(AiluminateCategory),
    "dsa": get_args(DsaCategory),
    "openai": get_args(OpenAICategory),
}


class CategoryCoverage(NamedTuple):
    """A category and the ids of the policies that cover it."""

    taxonomy: Taxonomy
    category: str
    policies: tuple[str, ...]


def coverage(pack: PolicyPack) -> tuple[CategoryCoverage, ...]:
    """Every category of every taxonomy; shadow policies cover nothing."""
    return tuple(
        CategoryCoverage(taxonomy, category, tuple(policy.id for policy in pack.enforced if category in named(policy)))
        for taxonomy, categories in CATEGORIES.items()
        for named in [attrgetter(f"{taxonomy}_category")]
        for category in categories
    )
