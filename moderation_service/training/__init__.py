"""Training: LoRA adapters from the owner's labels (extra `train`)."""
