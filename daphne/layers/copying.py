"""Copies of messages that share nothing mutable with the original, and how many bytes they hold.

Called by the memory layer: on sends for a copy, on `give`, which keeps the message itself, for the size.
A message is a dict of mostly plain values, so the top level is copied in Python (a large body is not touched,
only referred to) and what is nested goes through `marshal`, which copies headers several times faster than
Python code can.
"""

from __future__ import annotations

import marshal
from typing import Any

from daphne.layers.interface import LOCAL_KEY, Message

_PLAIN = frozenset((str, bytes, int, float, bool, type(None)))
_STR = frozenset((str,))
_FLAT = _PLAIN | {list, tuple}
"""What `marshal` may copy: not dicts, whose keys it would not look at."""
_WITHOUT_REFERENCES = 2
"""The version of marshal's format in which a value that occurs twice counts twice."""
_NUMBER = 9
"""Bytes that a number, a boolean or None counts for."""
_ITEM = 5
"""Bytes that an item of a list counts for beside its content: what `marshal` spends on it."""
DEPTH = 100
"""Levels of lists and dicts within each other that a message may have."""


def independent_copy(message: Message) -> tuple[Message, int]:
    """A copy that no later change of `message` reaches, and its size in bytes.

    TypeError for what is no message (ASGI version 1, "Messages"): not a dict, keys that are not str, values
    that are not bytes, str, numbers, bool, None, lists, tuples or dicts, or the layer's reserved key.
    """
    if not isinstance(message, dict):
        raise TypeError(f"a message is a dict, not {type(message).__name__}")
    copy: Message = {}
    size = 0
    for key, value in message.items():
        kind = type(value)
        if kind is str or kind is bytes:
            size += len(value)
        elif kind not in _PLAIN:
            value, nested = _nested_copy(value)
            size += nested
        if type(key) is not str:
            key = _text_key(key)
        size += _NUMBER + len(key)
        copy[key] = value
    if LOCAL_KEY in copy:
        raise TypeError(f"the message key {LOCAL_KEY!r} is reserved for the layer")
    return copy, size


def owned(message: Message) -> tuple[Message, int]:
    """`message`, which its sender has made for this and keeps no part of, and its size in bytes.

    What is no plain message comes back as, or raises, what `independent_copy` gives.
    """
    size = _NUMBER * len(message)
    for value in message.values():
        kind = type(value)
        if kind is bytes or kind is str:
            size += len(value)
        elif kind is list or kind is dict:
            nested = _size(value, 0)
            if nested < 0:
                return independent_copy(message)
            size += nested
        elif kind not in _PLAIN:
            return independent_copy(message)
    return message, size


def _size(value: Any, depth: int) -> int:
    """The bytes of a plain value; -1 for what is none."""
    kind = type(value)
    if kind is bytes or kind is str:
        return len(value)
    if kind is list or kind is tuple:
        items = value
    elif kind is dict:
        if not _STR.issuperset(map(type, value)):
            return -1
        items = value.values()
    else:
        return _NUMBER if kind in _PLAIN else -1
    if depth > DEPTH:
        return -1
    size = 0
    for item in items:
        more = _size(item, depth + 1)
        if more < 0:
            return -1
        size += _ITEM + more
    return size


def check_values(message: Message) -> None:
    """TypeError as from `independent_copy`, for layers that serialise: for what serialisers let pass."""
    if not isinstance(message, dict):
        raise TypeError(f"a message is a dict, not {type(message).__name__}")
    if LOCAL_KEY in message:
        raise TypeError(f"the message key {LOCAL_KEY!r} is reserved for the layer")
    for key, value in message.items():
        if type(key) is not str:
            _text_key(key)
        kind = type(value)
        if kind not in _PLAIN and not (kind in (list, tuple) and _FLAT.issuperset(map(type, value))):
            _slow_copy(value, depth=0)


def _nested_copy(value: Any) -> tuple[Any, int]:
    if type(value) in (list, tuple) and _FLAT.issuperset(map(type, value)):
        try:
            data = marshal.dumps(value, _WITHOUT_REFERENCES)
        except ValueError:  # a subclass of str, for instance, which the slow way turns into a str
            pass
        else:
            return marshal.loads(data), len(data)
    return _slow_copy(value, depth=0)


def _slow_copy(value: Any, depth: int) -> tuple[Any, int]:
    """The same for subclasses of the plain types, and the place where the errors come from."""
    if depth > DEPTH:
        raise TypeError("the message is nested too deeply")
    if isinstance(value, str):
        return str(value), len(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), len(value)
    for number in (bool, int, float):
        if isinstance(value, number):
            return number(value), _NUMBER
    if value is None:
        return None, _NUMBER
    if isinstance(value, dict):
        copies = {_text_key(key): _slow_copy(item, depth + 1) for key, item in value.items()}
        return {key: copy for key, (copy, _) in copies.items()}, sum(size for _, size in copies.values())
    if isinstance(value, (list, tuple)):
        items = [_slow_copy(item, depth + 1) for item in value]
        return [copy for copy, _ in items], _NUMBER + sum(size for _, size in items)
    raise TypeError(f"a message cannot hold a {type(value).__name__}")


def _text_key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the keys of a message are str, not {type(key).__name__}")
    return str(key)
