"""Multimodal content moderation on Kafka: posts in, proven verdicts out."""

__version__ = "0.1.0"
