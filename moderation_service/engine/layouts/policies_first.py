"""Layout `policies_first`: the pack stands in the prefix, read once for all posts. Policies see one another."""

from collections.abc import Sequence

from moderation_service.contracts.engine_input import Question
from moderation_service.engine.prompts import PACKED_ATTENTION, PromptName
from moderation_service.languages.wordings import PromptWording
from moderation_service.settings import LayoutName


class PoliciesFirst:
    """Prefix: the questions, in `full` how to judge and the definitions too. Suffix: which policy is asked about."""

    name: LayoutName = "policies_first"
    policies_in_prefix = True
    attention = PACKED_ATTENTION

    def prefix(self, questions: Sequence[Question], prompt: PromptName, wording: PromptWording) -> str:
        """The whole pack."""
        if prompt == "brief":
            return "\n".join(f"{each.policy_id}: {each.question}" for each in questions)
        policies = [
            wording.policy.format(policy_id=each.policy_id, definition=f"{each.definition}\n{each.question}")
            for each in questions
        ]
        return wording.instruction + wording.policies + "\n".join(policies)

    def suffix(self, question: Question, prompt: PromptName, wording: PromptWording) -> str:
        """The policy's name."""
        selector = "\n{policy_id}?" if prompt == "brief" else wording.selector
        return selector.format(policy_id=question.policy_id)

    def policy_characters(self, _question: Question, _prompt: PromptName) -> int:
        """None but the name."""
        return 0
