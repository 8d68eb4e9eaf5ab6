"""The local engine: a vision-language model in this process, by torch and transformers."""
