"""Whether a broker answers and lets us in, asked before anything is started: one clear line where it does not."""

import asyncio
import os
import ssl
import time
from typing import Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from moderation_service.errors import Fatal, Misconfigured
from moderation_service.kafka.clients import connection_arguments
from moderation_service.kafka.oauth import TokenRefusedError
from moderation_service.settings import KafkaSettings

PATIENCE_S = 20.0
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 3.0
_TLS_ALERT = 0x15  # the first byte of a TLS record that says no
_EXPIRED = 10  # OpenSSL's codes of what is wrong with a certificate
_OTHER_HOST = frozenset({62, 64})


async def reach(settings: KafkaSettings, patience_s: float | None = None) -> None:
    """Connect to one of the brokers, and try again for `patience_s` seconds (default: PATIENCE_S).

    Raises Misconfigured where a broker answers and refuses us, Fatal naming the address where none answers.
    """
    arguments = await asyncio.to_thread(connection_arguments, settings)  # reads the certificates
    hosts = collect_hosts(arguments.pop("bootstrap_servers"))
    tokens = arguments.get("sasl_oauth_token_provider")
    deadline, pause = time.monotonic() + (patience_s or PATIENCE_S), _FIRST_PAUSE_S
    while True:
        reason = "no address"
        for host, port, _ in hosts:
            left = max(1.0, deadline - time.monotonic())
            try:
                async with asyncio.timeout(left):
                    if tokens is not None:  # before anything connects: what is wrong with it is said by itself
                        await tokens.token()
                    await _ask(host, port, arguments)
            except (OSError, KafkaError, TimeoutError, ValueError) as error:
                if isinstance(error, TokenRefusedError):
                    raise Misconfigured(str(error)) from None
                if said := _refusal(settings, error.__cause__ or error):
                    msg = f"{host}:{port}: {said}"
                    raise Misconfigured(msg) from None
                reason = _in_words(error, settings)
            else:
                return
        if time.monotonic() + pause > deadline:
            msg = f"kafka.bootstrap_servers {settings.bootstrap_servers}: no broker answers ({reason})"
            raise Fatal(msg)
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


async def _ask(host: str, port: int, arguments: dict[str, Any]) -> None:
    connection = await create_conn(host, port, **arguments)
    try:
        # A listener that wants a password answers what it can do to anybody, and only then closes the door.
        answer = await connection.send(MetadataRequest([]))
        if not answer.brokers:  # so a broker answers after it has refused a token, which aiokafka does not notice
            raise AuthenticationFailedError
    finally:
        connection.close()


def _refusal(settings: KafkaSettings, error: BaseException) -> str | None:
    """What the broker refuses that waiting can't change; None where it may be another time."""
    match error:
        case ssl.SSLError():
            return _tls_refusal(settings, error)
        case asyncio.IncompleteReadError(expected=int(expected)) if expected >> 24 == _TLS_ALERT:
            return f"it does not answer as kafka.security_protocol {settings.security_protocol}, but speaks TLS"
        case SaslAuthenticationFailed() | AuthenticationFailedError() | ValueError():
            who = f"kafka.sasl_username {settings.sasl_username!r} with its kafka.sasl_password"
            return f"it refused {'the token' if settings.sasl_mechanism == 'OAUTHBEARER' else who}"
        case IllegalSaslStateError():
            return f"it wants no password, so kafka.security_protocol {settings.security_protocol} is not its own"
        case UnsupportedSaslMechanismError():
            return f"it does not take kafka.sasl_mechanism {settings.sasl_mechanism}; set the one that it offers"
    return None


def _tls_refusal(settings: KafkaSettings, error: ssl.SSLError) -> str:
    match error:
        case ssl.SSLCertVerificationError(verify_code=code, verify_message=why):
            if code == _EXPIRED:
                return "its certificate has expired; it needs a new one"
            if code in _OTHER_HOST:
                return (
                    f"its certificate is for another host ({why}); kafka.bootstrap_servers should name it as that does"
                )
            return f"its certificate is not trusted ({why}); check kafka.ssl_cafile"
        case ssl.SSLError(reason=str(why)) if "ALERT" in why and ("CERTIFICATE" in why or "UNKNOWN_CA" in why):
            if settings.ssl_certfile is None:
                return "it wants a certificate of ours; set kafka.ssl_certfile and kafka.ssl_keyfile"
            return f"it does not trust our certificate ({why}); check kafka.ssl_certfile"
    return f"it does not answer as kafka.security_protocol {settings.security_protocol} ({error.reason})"


def _in_words(error: Exception, settings: KafkaSettings) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error.__cause__, EOFError) or isinstance(error, ConnectionResetError):
        return f"it hangs up; kafka.security_protocol {settings.security_protocol} may not be its own"
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return str(error) or type(error).__name__
