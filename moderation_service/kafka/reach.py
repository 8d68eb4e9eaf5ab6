"""Whether a broker answers and lets us in, asked before anything is started: one clear line where it does not."""

import asyncio
import os
import ssl
import time

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from moderation_service.errors import Fatal, Misconfigured
from moderation_service.kafka.clients import connection_arguments
from moderation_service.settings import KafkaSettings

PATIENCE_S = 20.0
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 3.0


async def reach(settings: KafkaSettings, patience_s: float | None = None) -> None:
    """Connect to one of the brokers, and try again for `patience_s` seconds (default: PATIENCE_S).

    Raises Misconfigured where a broker answers and refuses us, Fatal naming the address where none answers.
    """
    arguments = connection_arguments(settings)
    hosts = collect_hosts(arguments.pop("bootstrap_servers"))
    deadline, pause = time.monotonic() + (patience_s or PATIENCE_S), _FIRST_PAUSE_S
    while True:
        reason = "no address"
        for host, port, _ in hosts:
            left = max(1.0, deadline - time.monotonic())
            try:
                async with asyncio.timeout(left):
                    connection = await create_conn(host, port, **arguments)
            except (OSError, KafkaError, TimeoutError, ValueError) as error:
                _refused(settings, f"{host}:{port}", error)
                reason = _in_words(error)
            else:
                connection.close()
                return
        if time.monotonic() + pause > deadline:
            msg = f"kafka.bootstrap_servers {settings.bootstrap_servers}: no broker answers ({reason})"
            raise Fatal(msg)
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def _refused(settings: KafkaSettings, address: str, error: Exception) -> None:
    """Raise Misconfigured for an answer that waiting can't change."""
    if isinstance(error, ssl.SSLCertVerificationError):
        msg = f"{address}: its certificate is not trusted ({error.verify_message}); check kafka.ssl_cafile"
        raise Misconfigured(msg) from None
    if isinstance(error, ssl.SSLError):
        msg = f"{address} does not answer as kafka.security_protocol {settings.security_protocol} ({error.reason})"
        raise Misconfigured(msg) from None
    if isinstance(error, SaslAuthenticationFailed | AuthenticationFailedError | ValueError):
        msg = f"{address} refused kafka.sasl_username {settings.sasl_username!r} with its kafka.sasl_password"
        raise Misconfigured(msg) from None
    if isinstance(error, UnsupportedSaslMechanismError | IllegalSaslStateError):
        msg = f"{address} does not take kafka.sasl_mechanism {settings.sasl_mechanism}; set the one that it offers"
        raise Misconfigured(msg) from None


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return str(error) or type(error).__name__
