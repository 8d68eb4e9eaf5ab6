"""OpenAPI 3.1 of the operations. Pure."""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from moderation_service import __version__
from moderation_service.console.api.operation import NoQuery, Operation
from moderation_service.console.api.problems import KINDS, MEDIA_TYPE, ProblemDetails
from moderation_service.contracts.base import Identifier

_REF = "#/components/schemas/{model}"
_ALWAYS = ("no_key", "wrong_scope", "too_many", "unavailable")
_WITH_BODY = ("not_json", "slow_body", "too_large", "wrong_media_type", "wrong_fields")
_JUDGING = ("full", "judging_off", "not_judgeable")
_HEADERS = {
    "X-Request-ID": "The request's id: the caller's `X-Request-ID`, or one made here.",
    "X-Trace-ID": "The id of the trace, continued from `traceparent` where there is one.",
    "RateLimit-Policy": "How much the key may ask (draft-ietf-httpapi-ratelimit-headers).",
    "RateLimit": "How much of it is left.",
    "Retry-After": "Seconds after which the same request may go through.",
}
_COMMON = ("X-Request-ID", "X-Trace-ID", "RateLimit-Policy", "RateLimit")


def document(operations: Iterable[Operation]) -> dict[str, object]:
    """The whole document, as JSON values."""
    told = list(operations)
    schemas = _Schemas(told)
    paths = defaultdict[str, dict[str, object]](dict)
    for operation in told:
        paths[f"/v1{operation.path}"][operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Moderation service",
            "version": __version__,
            "description": "Judges posts against written policies. Every refusal is problem JSON (RFC 9457).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": dict(paths),
        "components": {
            "schemas": schemas.definitions,
            "headers": {name: _header(name) for name in _HEADERS},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key of `moderation keys create`."}
            },
        },
    }


class _Schemas:
    """The JSON Schemas of all models, by reference."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        taken = {(one.body, "validation") for one in operations if one.body}
        given = {(model, "serialization") for one in operations for model in (one.answer, ProblemDetails) if model}
        wanted: Any = sorted(taken | given, key=lambda one: (one[0].__name__, one[1]))
        self._refs, told = models_json_schema(wanted, by_alias=True, ref_template=_REF)
        self.definitions = told["$defs"]

    def taken(self, model: type[BaseModel]) -> dict[str, Any]:
        return self._refs[model, "validation"]

    def given(self, model: type[BaseModel]) -> dict[str, Any]:
        return self._refs[model, "serialization"]


def _operation(operation: Operation, schemas: _Schemas) -> dict[str, object]:
    summary, _, description = (inspect.getdoc(operation.endpoint) or "").partition("\n\n")
    first, _, rest = summary.partition(". ")
    told: dict[str, object] = {
        "operationId": operation.operation_id,
        "summary": first.rstrip("."),
        "description": " ".join(f"{rest} {description} Needs the scope `{operation.scope}`.".split()),
        "parameters": list(_parameters(operation)),
        "responses": {str(operation.status): _answer(operation, schemas), **_refusals(operation, schemas)},
    }
    if operation.body:
        content = {"application/json": {"schema": schemas.taken(operation.body)}}
        told["requestBody"] = {"required": True, "content": content}
    return told


def _answer(operation: Operation, schemas: _Schemas) -> dict[str, object]:
    told: dict[str, object] = {"description": "Done", "headers": {name: _header_ref(name) for name in _COMMON}}
    if operation.answer:
        told["content"] = {"application/json": {"schema": schemas.given(operation.answer)}}
    return told


def _refusals(operation: Operation, schemas: _Schemas) -> dict[str, object]:
    kinds = set(_ALWAYS) | set(operation.refusals)
    kinds |= set(_WITH_BODY if operation.body else ()) | set(_JUDGING if operation.judges else ())
    if operation.query is not NoQuery or operation.headers:
        kinds.add("wrong_fields")
    titles = defaultdict[int, list[str]](list)
    for kind in sorted(kinds):
        titles[KINDS[kind].status].append(KINDS[kind].title)
    return {
        str(status): {
            "description": "; or: ".join(said),
            "headers": {
                name: _header_ref(name)
                for name in ("X-Request-ID", "X-Trace-ID", *(["Retry-After"] if status in {429, 503} else []))
            },
            "content": {MEDIA_TYPE: {"schema": schemas.given(ProblemDetails)}},
        }
        for status, said in sorted(titles.items())
    }


def _parameters(operation: Operation) -> Iterator[dict[str, object]]:
    for name in re.findall(r"{(\w+)}", operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": TypeAdapter(Identifier).json_schema()}
    for name, schema in operation.headers.items():
        yield {"name": name, "in": "header", "required": False, "schema": schema}
    for name, schema in operation.query.model_json_schema().get("properties", {}).items():
        yield {"name": name, "in": "query", "required": False, "schema": _without_null(schema)}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query says null by leaving a parameter out."""
    kinds = [kind for kind in schema.pop("anyOf", []) if kind != {"type": "null"}]
    if kinds and schema.get("default", ...) is None:
        del schema["default"]
    return {**schema, **(kinds[0] if kinds else {})}


def _header(name: str) -> dict[str, object]:
    return {"description": _HEADERS[name], "schema": {"type": "string"}}


def _header_ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/headers/{name}"}
