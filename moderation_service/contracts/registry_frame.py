"""Confluent's wire format: a zero byte and a schema id of four bytes before what a schema registry's serializer wrote.

JSON Schema serializers put JSON behind it, which needs no schema to be read. Avro and Protobuf do.
"""

import re

from moderation_service.errors import Poison

_FRAME = re.compile(rb"\0(?P<schema_id>.{4})(?=(?P<json>(?:\xef\xbb\xbf)?[ \t\r\n]*\{)?)", re.DOTALL)
_FRAMED_STRING = re.compile(rb"\0.{4}(?P<string>\"[^\"\\]*\")", re.DOTALL)
_UTF_16 = re.compile(rb"\0[^\0]\0")


def unframed(value: bytes) -> bytes:
    """The value without its frame. Raises Poison where what is framed is Avro or Protobuf."""
    frame = _FRAME.match(value)
    if frame is None or _UTF_16.match(value):
        return value
    if frame["json"] is None:
        msg = (
            f"the value looks like Avro or Protobuf, framed for a schema registry (schema id "
            f"{int.from_bytes(frame['schema_id'])}); send JSON, with the JSON Schema serializer or without one"
        )
        raise Poison("avro_or_protobuf", msg)
    return value[frame.end() :]


def unframed_key(key: bytes) -> bytes:
    """A record's key without its frame, where that holds a JSON string without escapes; any other key as it is."""
    framed = _FRAMED_STRING.fullmatch(key)
    return framed["string"][1:-1] if framed else key
