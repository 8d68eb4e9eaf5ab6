"""Which categories of other taxonomies the policies in force cover."""

from operator import attrgetter
from typing import NamedTuple

from moderation_service.policies.categories import CATEGORIES, Taxonomy
from moderation_service.policies.pack import PolicyPack


class CategoryCoverage(NamedTuple):
    """A category and the ids of the policies that cover it; without any, why, where `pack.yaml` says."""

    taxonomy: Taxonomy
    category: str
    policies: tuple[str, ...]
    reason: str | None


def coverage(pack: PolicyPack) -> tuple[CategoryCoverage, ...]:
    """Every category of every taxonomy; shadow policies cover nothing."""
    return tuple(_of(pack, taxonomy, category) for taxonomy, each in CATEGORIES.items() for category in each)


def _of(pack: PolicyPack, taxonomy: Taxonomy, category: str) -> CategoryCoverage:
    categories = attrgetter(f"{taxonomy}_category")
    policies = tuple(policy.id for policy in pack.enforced if category in categories(policy))
    reason = None if policies else pack.not_covered.get((taxonomy, category))
    return CategoryCoverage(taxonomy, category, policies, reason)
