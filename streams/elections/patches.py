"""JSON merge patches (RFC 7396) between two documents. Pure."""

from __future__ import annotations

from typing import Any

import msgspec


def change_between(old: Any, new: Any, *, by_item: bool = False) -> Any:
    """A JSON merge patch (RFC 7396) that makes one document of another.

    Args:
        old: JSON value or struct, in which no field is null on purpose where `new` has none.
        new: JSON value or struct.
        by_item: a list of as many objects as before has an object in the patch, with the patches
            of those that changed by their index. RFC 7396 has only whole lists. A field that has a
            list once has none but lists.
    """
    before, after = _fields(old), _fields(new)
    if before is None or after is None:
        if by_item and _are_objects(old) and _are_objects(new) and len(old) == len(new):
            return {
                str(n): change_between(*each, by_item=True)
                for n, each in enumerate(zip(old, new, strict=True))
                if each[0] != each[1]
            }
        return new
    patch: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        if name not in before:
            patch[name] = value
        elif before[name] is not value and before[name] != value:
            patch[name] = change_between(before[name], value, by_item=by_item)
    return patch


def _fields(value: Any) -> dict[str, Any] | None:
    if isinstance(value, dict):
        return value
    return msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else None


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict | msgspec.Struct) for each in value
    )
