"""Patches that make one document of another. Pure.

A live result is patched several times a second: parts that are the same object are passed over.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import astuple

_LEAVES: Final = frozenset({int, float, str, bool, type(None)})


def change_between(old: Any, new: Any, *, by_item: bool = False) -> Any:
    """A JSON merge patch (RFC 7396) that makes one document of another.

    Args:
        old: JSON value or struct, in which no field is null on purpose where `new` has none.
        new: JSON value or struct.
        by_item: a list of as many objects as before has an object in the patch, with the patches
            of those that changed by their index. RFC 7396 has only whole lists. A field that has a
            list once has none but lists.
    """
    if old != new:
        return _change(old, new, by_item)
    return {} if isinstance(new, dict | msgspec.Struct) else new


def _change(old: Any, new: Any, by_item: bool) -> Any:
    """The patch between two that differ.

    Comparing whole values first is cheap: C does it, and stops at the first difference.
    """
    if type(new) in _LEAVES:
        return new
    if isinstance(new, msgspec.Struct) and type(old) is type(new):
        # Most that change are numbers: no call for these.
        return {
            name: after if type(after) in _LEAVES else _change(before, after, by_item)
            for name, before, after in zip(
                new.__struct_fields__, astuple(old), astuple(new), strict=True
            )
            if before is not after and before != after
        }
    if isinstance(new, dict) and isinstance(old, dict):
        patch: dict[str, Any] = {name: None for name in old if name not in new}
        for name, after in new.items():
            if name not in old:
                patch[name] = after
            elif (before := old[name]) is not after and before != after:
                leaf = type(after) in _LEAVES
                patch[name] = after if leaf else _change(before, after, by_item)
        return patch
    if by_item and _are_objects(old) and _are_objects(new) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return {str(n): _change(*each, by_item) for n, each in pairs if each[0] != each[1]}
    return new


def _are_objects(value: Any) -> bool:
    # Nearly always of one type.
    kinds = {*map(type, value)} if isinstance(value, list) else {list}
    return all(issubclass(kind, (dict, msgspec.Struct)) for kind in kinds)
