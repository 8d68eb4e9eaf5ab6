"""Layout `post_first`: policies stand in the suffixes. None sees another, and each is read anew for every post."""

from collections.abc import Sequence

from moderation_service.contracts.engine_input import Question
from moderation_service.engine.prompts import PACKED_ATTENTION, PromptName
from moderation_service.languages.wordings import PromptWording
from moderation_service.settings import LayoutName


class PostFirst:
    """Prefix: how to judge, in `full`. Suffix: the question, in `full` behind the policy's definition."""

    name: LayoutName = "post_first"
    policies_in_prefix = False
    attention = PACKED_ATTENTION

    def prefix(self, _questions: Sequence[Question], prompt: PromptName, wording: PromptWording) -> str:
        """Empty in `brief`."""
        return wording.instruction if prompt == "full" else ""

    def suffix(self, question: Question, prompt: PromptName, wording: PromptWording) -> str:
        """All that the model is told of the policy."""
        if prompt == "brief":
            return f"\n{question.question}"
        policy = wording.policy.format(policy_id=question.policy_id, definition=question.definition)
        return f"\n{policy}{question.question}"

    def policy_characters(self, question: Question, prompt: PromptName) -> int:
        """As in `suffix`."""
        return len(question.question) + (len(question.definition) if prompt == "full" else 0)
