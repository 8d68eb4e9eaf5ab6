import shutil
import time
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from benchmarks.certificates import Authority
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry.ops import metrics, record_certificate_expiry
from tests.conftest import skip_or_fail

DAY_S = 86_400


@pytest.fixture(autouse=True)
def none_told() -> None:
    metrics.CERTIFICATE_EXPIRY.clear()


def days_left(name: str) -> float | None:
    ends = REGISTRY.get_sample_value("moderation_certificate_expiry_timestamp_seconds", {"file": name})
    return None if ends is None else (ends - time.time()) / DAY_S


def test_the_end_of_each_certificate_is_told(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        skip_or_fail("openssl makes the certificates")
    authority = Authority(tmp_path, "authority")
    ours = authority.sign("worker", days=9)
    record_certificate_expiry(KafkaSettings(ssl_cafile=authority.certificate, ssl_certfile=ours.certificate))
    assert days_left("ssl_certfile") == pytest.approx(9, abs=0.1)
    assert days_left("ssl_cafile") == pytest.approx(30, abs=0.1)  # openssl's own default


def test_without_certificates_or_with_files_that_hold_none_nothing_is_told(tmp_path: Path) -> None:
    record_certificate_expiry(KafkaSettings())
    (tmp_path / "empty.pem").write_text("no certificate")
    record_certificate_expiry(KafkaSettings(ssl_certfile=tmp_path / "empty.pem", ssl_cafile=tmp_path / "missing.pem"))
    assert days_left("ssl_certfile") is None
    assert days_left("ssl_cafile") is None
