"""A policy pack: all policies of a folder, in one order, under one digest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from moderation_service.contracts.engine_input import Language, Questionnaire
from moderation_service.contracts.enums import Mode
from moderation_service.errors import Misconfigured
from moderation_service.languages.tags import nearest_tag
from moderation_service.policies.faults import Fault, PackRefused
from moderation_service.policies.file import read_policy
from moderation_service.policies.model import Policy, digest_of
from moderation_service.policies.pack_file import NAME, PackFile, implied_default, pack_file, read_pack_file
from moderation_service.settings import PolicySettings

_SHARED = "should be, with question and definition, in one language at least that all have"
PATH, SHADOW_PATH = "policies.path", "policies.shadow_path"


@dataclass(frozen=True)
class PolicyPack:
    """Policies sorted by id; the questions of a questionnaire stand in the order of `enforced` or `shadow`.

    `default_language` is that of posts in no language of the pack; None: what it is without a `pack.yaml`.
    `not_covered` has that file's reasons by taxonomy and category.
    """

    policies: tuple[Policy, ...]
    default_language: Language | None = None
    not_covered: Mapping[tuple[str, str], str] = field(default_factory=dict)
    _questionnaires: dict[tuple[Language, Mode], Questionnaire] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Whoever builds a pack, its order is the same."""
        object.__setattr__(self, "policies", tuple(sorted(self.policies, key=lambda policy: policy.id)))

    @cached_property
    def enforced(self) -> tuple[Policy, ...]:
        """The policies that decide."""
        return self.of(Mode.ENFORCE)

    @cached_property
    def shadow(self) -> tuple[Policy, ...]:
        """The policies that are judged and decide nothing."""
        return self.of(Mode.SHADOW)

    @cached_property
    def languages(self) -> tuple[Language, ...]:
        """The languages that all policies are written in."""
        each = [set(policy.languages) for policy in self.policies]
        return tuple(sorted(set.intersection(*each))) if each else ()

    @cached_property
    def digest(self) -> str:
        """Digest over the policies' digests, and the default language where it is another than the implied one."""
        said = self.default_language
        own = [] if said in {None, implied_default(self.languages)} else [said]
        return digest_of([*(policy.digest for policy in self.policies), *own])

    def language_for(self, wanted: Language | None) -> Language:
        """The pack's language to judge in where `wanted` is the post's: the nearest, else the default."""
        return nearest_tag(wanted, self.languages) or self.default_language or implied_default(self.languages) or "en"

    def questionnaire(self, language: Language, mode: Mode) -> Questionnaire:
        """The questions of the policies of one mode, in the pack's language for this one.

        The same object each time, so that an engine can key on it.
        """
        language = self.language_for(language)
        known = self._questionnaires.get((language, mode))
        if known is None:
            known = Questionnaire(language, tuple(policy.to_question(language) for policy in self.of(mode)))
            self._questionnaires[language, mode] = known
        return known

    def of(self, mode: Mode) -> tuple[Policy, ...]:
        """The policies of one mode."""
        return tuple(policy for policy in self.policies if policy.mode == mode)


def load_pack(path: Path, *, images: bool = True, setting: str = PATH) -> PolicyPack:
    """Read the policies of a folder, or the one policy of a file, that `setting` names.

    A service that judges and runs no case does without the cases' `images`: a ConfigMap carries only text.
    Raises Misconfigured with a line a fault: `file:line: field: what is wrong; what would be right`.
    """
    faults: list[Fault] = []
    policies: list[Policy] = []
    for file in policy_files(path, faults, setting):
        try:
            policies.append(read_policy(file, images=images))
        except PackRefused as refused:
            faults += refused.faults
    if not faults:
        try:
            return PolicyPack(tuple(policies), *_pack_file(path, policies))
        except PackRefused as refused:
            faults += refused.faults
    raise Misconfigured("\n".join(map(str, faults)))


def _pack_file(path: Path, policies: Sequence[Policy]) -> PackFile:
    """The file of a pack that is about to be made. Raises PackRefused, also where its policies share no language."""
    languages = PolicyPack(tuple(policies)).languages
    if not languages:
        said = "; ".join(f"{policy.id} is in {', '.join(policy.languages)}" for policy in policies)
        raise PackRefused([Fault(path, None, "title", f"no language is in all policies ({said})", _SHARED)])
    return read_pack_file(pack_file(path), languages)


def load_packs(settings: PolicySettings) -> tuple[PolicyPack, PolicyPack | None]:
    """The pack in force and the shadow pack, if any, as a service wants them. Raises as `load_pack`."""
    pack = load_pack(settings.path, images=False)
    if settings.shadow_path is None:
        return pack, None
    return pack, load_pack(settings.shadow_path, images=False, setting=SHADOW_PATH)


def policy_files(path: Path, faults: list[Fault], setting: str) -> list[Path]:
    """The policy files in order of name; what is in the way of having any goes to `faults`."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        faults.append(Fault(path, None, setting, "is not a folder", "should be a folder of policy files (*.yaml)"))
        return []
    seen = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    faults.extend(
        Fault(file, 1, "file", f"ends in {file.suffix}", f"should be named {file.stem}.yaml")
        for file in seen
        if file.suffix.lower() in {".yaml", ".yml"} and file.suffix != ".yaml"
    )
    for deeper in (file for folder in seen if folder.is_dir() for file in sorted(folder.rglob("*.y*ml"))):
        right = f"should be in {path} itself, or its folder have a name that starts with a dot"
        faults.append(Fault(deeper, None, setting, "lies in a folder inside, where no policy is read", right))
    files = [file for file in seen if file.suffix == ".yaml" and file.name != NAME]
    if not files and not faults:
        right = "should have a file ID.yaml for each policy"
        faults.append(Fault(path, None, setting, "has no policy file", right))
    return files
