"""Reading GLib's serialised values, the format of OSTree's commits, trees, signatures and summaries.

Only what is asked for is decoded: a summary of thousands of refs is read in milliseconds. What is read may be anybody's;
bytes that are not of the type they are said to be raise Malformed and nothing else.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache


class Malformed(ValueError):
    """Bytes that are no value of the type expected."""


_FORMATS = {"y": "<B", "b": "<B", "n": "<h", "q": "<H", "i": "<i", "u": "<I", "x": "<q", "t": "<Q", "d": "<d"}
_OFFSETS = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
_MAX_DEPTH = 32


@dataclass(frozen=True)
class Type:
    """A type: `kind` is the first letter of its text; `size` is 0 if its values differ in size."""

    kind: str
    alignment: int
    size: int
    members: tuple["Type", ...] = ()


def _align(position: int, alignment: int) -> int:
    return (position + alignment - 1) // alignment * alignment


def _parse(text: str, start: int, depth: int) -> tuple[Type, int]:
    if start >= len(text) or depth > _MAX_DEPTH:
        raise Malformed(f"not a type: {text!r:.100}")
    kind = text[start]
    if kind in _FORMATS:
        size = struct.calcsize(_FORMATS[kind])
        return Type(kind, size, size), start + 1
    if kind in "sog":
        return Type("s", 1, 0), start + 1
    if kind == "v":
        return Type("v", 8, 0), start + 1
    if kind in "am":
        member, end = _parse(text, start + 1, depth + 1)
        return Type(kind, member.alignment, 0, (member,)), end
    if kind not in "({":
        raise Malformed(f"not a type: {text!r:.100}")
    members, end, closing = [], start + 1, ")" if kind == "(" else "}"
    while text[end : end + 1] != closing:
        member, end = _parse(text, end, depth + 1)
        members.append(member)
    alignment = max((member.alignment for member in members), default=1)
    size, fixed = 0, all(member.size for member in members)
    for member in members:
        size = _align(size, member.alignment) + member.size
    return Type("(", alignment, _align(size, alignment) or 1 if fixed else 0, tuple(members)), end + 1


@lru_cache(maxsize=256)
def type_of(text: str) -> Type:
    """The type that `text` writes, such as `a{sv}`. Raises Malformed."""
    found, end = _parse(text, 0, 0)
    if end != len(text):
        raise Malformed(f"not a type: {text!r:.100}")
    return found


def _offset_size(size: int) -> int:
    return 1 if size <= 0xFF else 2 if size <= 0xFFFF else 4 if size <= 0xFFFFFFFF else 8


class Value:
    """A value that is decoded when it is asked for its members or its content."""

    __slots__ = ("_data", "_ends", "_type")

    def __init__(self, kind: Type, data: memoryview) -> None:
        self._type, self._data = kind, data
        self._ends: tuple[int, ...] | None = None
        if kind.size and len(data) != kind.size:
            raise Malformed(f"{len(data)} bytes, expected {kind.size}")

    def _array_ends(self) -> tuple[int, ...]:
        """Where each member of an array of members of different sizes ends."""
        if self._ends is None:
            size = len(self._data)
            if not size:
                self._ends = ()
                return self._ends
            width = _offset_size(size)
            (start,) = struct.unpack_from(_OFFSETS[width], self._data, size - width)
            if start > size or (size - start) % width:
                raise Malformed(f"a table of offsets at {start} in {size} bytes")
            count = (size - start) // width
            self._ends = struct.unpack_from(f"<{count}{_OFFSETS[width][1]}", self._data, start)
        return self._ends

    def __len__(self) -> int:
        if self._type.kind == "a":
            member = self._type.members[0]
            if not member.size:
                return len(self._array_ends())
            if len(self._data) % member.size:
                raise Malformed(f"an array of {len(self._data)} bytes with members of {member.size}")
            return len(self._data) // member.size
        if self._type.kind == "(":
            return len(self._type.members)
        raise Malformed(f"a value of kind {self._type.kind} has no members")

    def __getitem__(self, index: int) -> "Value":
        if not 0 <= index < len(self):
            raise IndexError(index)
        if self._type.kind == "(":
            return self._tuple_member(index)
        member = self._type.members[0]
        if member.size:
            return Value(member, self._data[index * member.size : (index + 1) * member.size])
        ends = self._array_ends()
        return self._slice(member, _align(ends[index - 1], member.alignment) if index else 0, ends[index])

    def _slice(self, member: Type, start: int, end: int) -> "Value":
        if not start <= end <= len(self._data):
            raise Malformed(f"a member from {start} to {end} in {len(self._data)} bytes")
        return Value(member, self._data[start:end])

    def _tuple_member(self, index: int) -> "Value":
        members, size = self._type.members, len(self._data)
        width = 0 if self._type.size else _offset_size(size)
        position, used = 0, 0
        for number, member in enumerate(members):
            start = _align(position, member.alignment)
            if member.size:
                end = start + member.size
            elif number == len(members) - 1:
                end = size - used * width
            else:
                used += 1
                if used * width > size:
                    raise Malformed(f"{size} bytes are too few for the offsets")
                (end,) = struct.unpack_from(_OFFSETS[width], self._data, size - used * width)
            if number == index:
                return self._slice(member, start, end)
            position = end
        raise IndexError(index)

    def variant(self) -> "Value":
        """What a variant holds."""
        data = bytes(self._data)
        end = data.rfind(b"\0")
        if self._type.kind != "v" or end < 0:
            raise Malformed("not a variant")
        try:
            kind = type_of(data[end + 1 :].decode("ascii"))
        except UnicodeDecodeError:
            raise Malformed("not a type") from None
        return Value(kind, self._data[:end])

    def bytes(self) -> bytes:
        """The content of an array of bytes."""
        if self._type.kind != "a" or self._type.members[0].kind != "y":
            raise Malformed("not an array of bytes")
        return bytes(self._data)

    def text(self) -> str:
        if self._type.kind != "s" or not len(self._data) or self._data[-1]:
            raise Malformed("not a text")
        try:
            return str(self._data[:-1], "utf-8")
        except UnicodeDecodeError:
            raise Malformed("a text that is not UTF-8") from None

    def number(self) -> int:
        if self._type.kind not in _FORMATS:
            raise Malformed("not a number")
        return struct.unpack(_FORMATS[self._type.kind], self._data)[0]

    def dictionary(self) -> "dict[str, Value]":
        """A dictionary whose keys are texts; of variants, what they hold. Of keys that appear twice the first counts,
        as for GLib."""
        found: dict[str, Value] = {}
        for index in range(len(self)):
            entry = self[index]
            if len(entry) != 2:
                raise Malformed("not a dictionary")
            value = entry[1]
            found.setdefault(entry[0].text(), value.variant() if value._type.kind == "v" else value)
        return found


def read(text: str, data: bytes) -> Value:
    """The value of the type that `text` writes, serialised in `data` in little-endian order. Raises Malformed."""
    return Value(type_of(text), memoryview(data))
