"""The remote engine: a model behind any OpenAI-compatible server, such as vLLM or SGLang."""
