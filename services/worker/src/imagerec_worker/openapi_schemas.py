"""Short ways of writing the JSON Schemas of the API's description."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 0}
SHARE: Json = {"type": "number", "minimum": 0, "maximum": 1}
FILE: Json = {"type": "string", "format": "binary"}


def described(properties: Json, *optional: str) -> Json:
    """Return the schema of an object that has these members and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def listed(items: Json, least: int = 0, most: int | None = None) -> Json:
    """Return the schema of a list with so many elements."""
    return {"type": "array", "items": items, "minItems": least, **({} if most is None else {"maxItems": most})}


def answered(what: str, schema: Json, kind: str = "application/json") -> Json:
    """Return the description of a response."""
    return {"description": what, "content": {kind: {"schema": schema}}}


def asked(place: str, name: str, schema: Json, what: str) -> Json:
    """Return the description of a parameter of the query, or of a header field."""
    return {"name": name, "in": place, "description": what, "schema": schema}


def refer(name: str) -> Json:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}
