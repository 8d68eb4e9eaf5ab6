"""What every layout is held to: one full forward of its own for each policy, nothing shared, nothing packed."""

import torch

from moderation_service.engine.base import LabelScore, ScoreRequest
from moderation_service.engine.local.post_tokenizer import SafeTokenizer
from moderation_service.engine.local.scorer import Scorer


@torch.inference_mode()
def full_forward_scores(scorer: Scorer, request: ScoreRequest) -> tuple[LabelScore, ...]:
    """Answer `asked` by the model's own forward, which finds positions and masks by itself.

    Uses the scorer's tokens, and of its computing nothing.
    """
    checkpoint, tokenizer = scorer.checkpoint, scorer.tokenizer
    prefix = scorer.prefix(request.questionnaire)
    post = scorer.post_tokenizer.tokenize(request.text, request.images, prefix.room)
    images = scorer.preprocessor.inputs(post.images)
    answers = []
    for number in request.asked:
        ids = torch.tensor([[*prefix.ids, *post.ids, *prefix.suffixes[number]]], device=checkpoint.device)
        logits = checkpoint.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            use_cache=False,
            mm_token_type_ids=(ids == checkpoint.config.image_token_id).int(),
            **images,
        ).logits[0, -1]
        answers.append(label_score(logits, tokenizer))
    return tuple(answers)


def label_score(logits: torch.Tensor, tokenizer: SafeTokenizer) -> LabelScore:
    """Read an answer off the logits [vocabulary] of all tokens."""
    chances = logits.float().softmax(-1)
    yes, no = (float(chances[list(labels)].sum()) for labels in (tokenizer.yes, tokenizer.no))
    return LabelScore(yes / (yes + no), yes + no)
