"""The one way this room turns a value into a digest."""

import hashlib
import json


def digest_of(value: object) -> str:
    """`sha256:` and the hex digest of the value as canonical JSON: sorted keys, no spaces, UTF-8."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()
