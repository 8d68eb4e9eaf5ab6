"""Images in allowed buckets: `s3://bucket/key`, `gs://bucket/key`, `az://container/key`.

Endpoints and credentials come from the cloud's own environment variables and workload identity.
"""

import re
from typing import TYPE_CHECKING

from moderation_service.errors import Misconfigured
from moderation_service.media.loaded_image import ImageFault, TransientFault
from moderation_service.settings import MediaSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import ObjectStore, RetryConfig

    OpenStore = Callable[[str, str], ObjectStore]

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_CHUNK = 256 * 1024


class ObjectReader:
    """One store for each allowed bucket; an entry without a scheme is S3's.

    Raises Misconfigured where the `s3` extra is missing or a bucket can't be set up. Connects to nothing yet.
    """

    def __init__(self, settings: MediaSettings, *, open_store: "OpenStore | None" = None) -> None:
        self._max_bytes = settings.max_bytes
        self._stores = {}
        for entry in sorted(settings.allowed_buckets):
            scheme, _, bucket = entry.rstrip("/").rpartition("://")
            scheme = scheme or "s3"
            if scheme not in ("s3", "gs", "az") or not _BUCKET.fullmatch(bucket):
                msg = f"media.allowed_buckets: {entry!r} is no bucket; write name, s3://name, gs://name or az://name"
                raise Misconfigured(msg)
            self._stores[scheme, bucket] = (open_store or _open_store)(scheme, bucket)

    async def read(self, reference: str) -> bytes:
        """The bytes of an object, one try. Raises ImageFault; TransientFault where another try may help."""
        scheme, _, path = reference.partition("://")
        bucket, _, key = path.partition("/")
        store = self._stores.get((scheme.lower(), bucket))
        if store is None or not key:
            raise ImageFault(status="refused", why="bucket not allowed")

        import obstore  # noqa: PLC0415 - the `s3` extra, there if a store is
        from obstore import exceptions  # noqa: PLC0415

        try:
            found = await obstore.get_async(store, key)
            if found.meta["size"] > self._max_bytes:
                raise ImageFault(status="too_large", why="announced bytes")
            body = bytearray()
            async for chunk in found.stream(min_chunk_size=_CHUNK):
                body += chunk
                if len(body) > self._max_bytes:
                    raise ImageFault(status="too_large", why="bytes")
        except FileNotFoundError:
            raise ImageFault(status="unavailable", why="no such object") from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError):
            raise ImageFault(status="unavailable", why="no permission") from None
        except (exceptions.InvalidPathError, ValueError):
            raise ImageFault(status="refused", why="not a key") from None
        except (exceptions.BaseError, OSError) as error:
            raise TransientFault(why=type(error).__name__) from None
        return bytes(body)


def _open_store(scheme: str, bucket: str) -> "ObjectStore":
    try:
        from obstore import exceptions  # noqa: PLC0415 - the `s3` extra
        from obstore.store import AzureStore, GCSStore, S3Store  # noqa: PLC0415
    except ImportError:
        msg = "media.allowed_buckets needs obstore: install moderation-service[s3], or leave the setting empty"
        raise Misconfigured(msg) from None
    # The caller retries, within its deadline. Client options would shut out those of the environment.
    retry: RetryConfig = {"max_retries": 0}
    try:
        if scheme == "gs":
            return GCSStore(bucket, retry_config=retry)
        if scheme == "az":
            return AzureStore(container_name=bucket, retry_config=retry)
        return S3Store(bucket, retry_config=retry)
    except exceptions.BaseError as error:
        reason = str(error).partition("\n")[0]
        msg = f"media.allowed_buckets: {scheme}://{bucket} can't be set up ({reason}); its environment is incomplete"
        raise Misconfigured(msg) from None
