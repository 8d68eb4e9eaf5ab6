"""The tiny checkpoint, taught to answer given requests with given words: a model that can talk."""

from collections.abc import Mapping
from pathlib import Path

import torch

from moderation_service.engine.base import ExplainRequest
from moderation_service.engine.local.checkpoint import load_checkpoint
from moderation_service.engine.local.generator import Generator
from moderation_service.engine.local.scorer import Scorer
from moderation_service.settings import EngineSettings
from tests.engine.local.tiny import save_checkpoint


@torch.no_grad()
def save_talking_checkpoint(to: Path, lessons: Mapping[str, ExplainRequest]) -> Path:
    """Solve for the head that answers each request with the lesson's words; all other weights stay random.

    Exact for as many tokens of answers, of all lessons together, as the hidden state has numbers (64).
    """
    save_checkpoint(to)
    checkpoint = load_checkpoint(EngineSettings(model=str(to), device="cpu", dtype="float32"))
    writer = Generator(Scorer(checkpoint, "post_first", "brief", max_context_tokens=1024, max_batch_tokens=16384))
    tokenizer, model = checkpoint.tokenizer, checkpoint.model
    states, answers = [], []
    for words, request in lessons.items():
        prompt, post = writer._prompt(request)
        answer = [*tokenizer.encode(words, add_special_tokens=False), tokenizer.eos_token_id]
        ids = torch.tensor([prompt + answer])
        kinds = (ids == checkpoint.config.image_token_id).int()
        hidden = model.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=kinds,
            **writer._preprocessor.inputs(post.images),
        ).last_hidden_state
        states.append(hidden[0, -len(answer) - 1 : -1])
        answers += answer
    wanted = 10 * torch.nn.functional.one_hot(torch.tensor(answers), len(tokenizer)).double()
    assert len(answers) <= checkpoint.config.text_config.hidden_size
    model.lm_head.weight.copy_(torch.linalg.lstsq(torch.cat(states).double(), wanted).solution.T)
    model.save_pretrained(to)
    return to
