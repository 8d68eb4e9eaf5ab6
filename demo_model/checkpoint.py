"""Write the checkpoint's folder: weights, configurations, tokenizer and processor."""

import copy
from pathlib import Path

import torch
from transformers import Glm4vForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.glm46v.image_processing_glm46v import Glm46VImageProcessor
from transformers.models.glm46v.processing_glm46v import Glm46VProcessor
from transformers.models.glm46v.video_processing_glm46v import Glm46VVideoProcessor

from demo_model.image_bank import LEAST_PIXELS, MOST_PIXELS


def save(model: Glm4vForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save in bfloat16. The model stays as it is."""
    size = {"shortest_edge": LEAST_PIXELS, "longest_edge": MOST_PIXELS}
    images, videos = Glm46VImageProcessor(size=size), Glm46VVideoProcessor(size=size)
    Glm46VProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        video_processor=videos,
        chat_template=tokenizer.chat_template,
    ).save_pretrained(folder)
    # The same in files of their own, where releases of transformers before 5 look for them.
    images.save_pretrained(folder)
    videos.save_pretrained(folder)
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
    # safetensors writes files that only their owner can read.
    (folder / "model.safetensors").chmod(0o644)
