import pytest
import torch
from prometheus_client import REGISTRY

from moderation_service.engine.local.engine import _watch_memory
from moderation_service.telemetry import metrics


def test_every_look_at_the_metrics_asks_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([50, 60, 10])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (next(free), 100))
    monkeypatch.setattr(metrics, "GPU_MEMORY_USED", metrics.GPU_MEMORY_USED.__class__("used", "", registry=None))
    _watch_memory(torch.device("cuda"))
    assert REGISTRY.get_sample_value("moderation_gpu_memory_total_bytes") == 100
    assert [metrics.GPU_MEMORY_USED.collect()[0].samples[0].value for _ in range(2)] == [40, 90]
    metrics.GPU_MEMORY_TOTAL.set(0)


def test_without_a_gpu_there_is_none_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: pytest.fail("asked"))
    _watch_memory(torch.device("cpu"))
    assert REGISTRY.get_sample_value("moderation_gpu_memory_total_bytes") == 0
