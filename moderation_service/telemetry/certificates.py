"""When the certificates that the settings name end, told as a metric."""

import ssl
from _ssl import _test_decode_cert  # type: ignore[attr-defined] # Python's one reader of a PEM file's dates
from contextlib import suppress

from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import metrics


def tell(settings: KafkaSettings) -> None:
    """Set the metric for the client's certificate and the authority's (of several in a file the first).

    A file that can't be read is left to the client that needs it, which refuses it by name.
    """
    for name in ("ssl_certfile", "ssl_cafile"):
        path = getattr(settings, name)
        with suppress(OSError, ssl.SSLError):
            if path is not None:
                ends = _test_decode_cert(str(path))["notAfter"]
                metrics.CERTIFICATE_EXPIRY.labels(name).set(ssl.cert_time_to_seconds(str(ends)))
