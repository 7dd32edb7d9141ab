"""Changes to bytes and documents that keep most of their structure: what a parser accepts is what tests the code behind it."""

import json
import random
import re
from collections.abc import Callable
from typing import Any

__all__ = ["mutate_bytes", "mutate_document", "mutate_json", "mutate_protobuf", "mutate_xml", "pick_integer"]

_LEAF_BYTES = 50_000
_REPEATED_LETTERS = 200
_NUMBERS = (0, 1, 2, 3, 7, 8, 16, 64, 127, 128, 255, 256, 1000, 4096, 65535, 65536, 1 << 20, 1 << 24, 1 << 30)
_LARGE = ((1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 62, (1 << 63) - 1)
_TEXTS = (
    "",
    "x",
    "../../secret",
    "/etc/hostname",
    "a" * 5000,
    "\x1b[2J",
    "\ud800",
    "<script>",
    "\0",
    "nan",
    "-1",
    "é",
    "9" * 400,
    "1e999",
    "@model_path/../../x",
)
_XML_NAMES = (
    "Loop",
    "TensorIterator",
    "If",
    "ReadValue",
    "Tile",
    "Broadcast",
    "Range",
    "opset99",
    "extension",
    "Const",
    "Result",
    "Parameter",
)


def pick_integer(chance: random.Random, value: int = 0) -> int:
    """Return a number that breaks things, or one near ``value``."""
    kind = chance.random()
    if kind < 0.3:
        return value + chance.choice((-2, -1, 1, 2))
    if kind < 0.4:
        return value * chance.choice((2, 10, 1000, -1))
    return chance.choice(_NUMBERS if kind < 0.8 else _LARGE) * chance.choice((1, 1, 1, -1))


def mutate_bytes(chance: random.Random, content: bytes, window: int | None = None) -> bytes:
    """Flip bits, set words, cut, repeat or remove a piece; within the last ``window`` bytes if given."""
    data = bytearray(content)
    for _ in range(chance.randrange(1, 5)):
        if not data:
            break
        low = max(0, len(data) - window) if window else 0
        place = chance.randrange(low, len(data))
        kind = chance.random()
        if kind < 0.4:
            data[place] ^= 1 << chance.randrange(8)
        elif kind < 0.7:
            size = chance.choice((1, 2, 4, 8))
            data[place : place + size] = (pick_integer(chance) % (1 << 8 * size)).to_bytes(size, "little")
        elif kind < 0.8:
            del data[place : place + chance.choice((1, 4, 16, 1000))]
        elif kind < 0.9:
            data[place:place] = data[place : place + chance.choice((1, 4, 16, 1000))]
        else:
            del data[place:]
    return bytes(data)


def mutate_protobuf(chance: random.Random, content: bytes) -> bytes:
    """Change one field somewhere in a message; the lengths around it are made to fit."""
    fields = _parse(content)
    if not fields:
        return mutate_bytes(chance, content)
    # Small graphs are mostly one huge field; what is small is as interesting.
    index = (
        chance.randrange(len(fields))
        if chance.random() < 0.3
        else max(range(len(fields)), key=lambda at: len(fields[at][2]) * chance.random())
    )
    number, kind, value = fields[index]
    if kind == 2 and chance.random() < 0.85 and len(value) < 1 << 24 and _parse(value):
        fields[index] = number, kind, mutate_protobuf(chance, value)
        return _join(fields)
    choice = chance.random()
    if choice < 0.1:
        del fields[index]
    elif choice < 0.2:
        fields.insert(chance.randrange(len(fields) + 1), fields[index])
    elif choice < 0.25:
        fields += [fields[index]] * chance.choice((2, 100, 3000) if len(value) < 200 else (2,))
    elif choice < 0.35:
        other = chance.randrange(len(fields))
        fields[index], fields[other] = fields[other], fields[index]
    elif choice < 0.45:
        fields[index] = chance.choice((number + 1, max(1, number - 1), chance.randrange(1, 30))), kind, value
    elif kind == 0:
        fields[index] = number, kind, _varint(pick_integer(chance, _read_varint(value)) % (1 << 64))
    elif kind == 2 and len(value) < _LEAF_BYTES and chance.random() < 0.4:
        fields[index] = number, kind, chance.choice(_TEXTS).encode("utf-8", "surrogatepass")
    else:
        fields[index] = number, kind, mutate_bytes(chance, value) if kind == 2 else chance.randbytes(len(value))
    return _join(fields)


def mutate_xml(chance: random.Random, text: str) -> str:
    """Change an attribute's value, or remove, repeat or rename an element."""
    kind = chance.random()
    if kind < 0.6:
        spots = list(re.finditer(r'="([^"]*)"', text))
        spot = chance.choice(spots)
        old = spot[1]
        numbers = re.findall(r"-?\d+", old)
        new = chance.choice(_TEXTS).replace("\0", "").replace("<", "&lt;").replace("\ud800", "?").replace("\x1b", "")
        if numbers and chance.random() < 0.8:
            number = chance.choice(numbers)
            new = old.replace(number, str(pick_integer(chance, int(number) if len(number) < 30 else 0)), 1)
        elif chance.random() < 0.5:
            new = chance.choice(_XML_NAMES) if chance.random() < 0.4 else chance.choice(spots)[1]
        return f"{text[: spot.start(1)]}{new}{text[spot.end(1) :]}"
    if kind < 0.9:
        layers = list(re.finditer(r"<layer .*?</layer>|<edge [^>]*>|<port .*?</port>", text, re.DOTALL))
        spot = chance.choice(layers)
        if chance.random() < 0.4:
            return text[: spot.start()] + text[spot.end() :]
        other = chance.choice(layers)
        if chance.random() < 0.5:
            return text[: spot.start()] + other[0] + text[spot.start() :]
        return text[: spot.start()] + other[0] + text[spot.end() :]
    if kind < 0.95:
        entity = '<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
        return text.replace("<net ", f"{entity}<net ", 1)
    return mutate_bytes(chance, text.encode()).decode("utf-8", "replace")


def mutate_document(chance: random.Random, document: Any) -> Any:
    """Change one value somewhere in a parsed JSON document."""
    if isinstance(document, dict) and document and chance.random() < 0.9:
        key = chance.choice(list(document))
        if chance.random() < 0.75:
            return document | {key: mutate_document(chance, document[key])}
        rest = {name: value for name, value in document.items() if name != key}
        return rest if chance.random() < 0.5 else rest | {chance.choice(_TEXTS): document[key]}
    if isinstance(document, list) and document and chance.random() < 0.85:
        index = chance.randrange(len(document))
        kind = chance.random()
        if kind < 0.6:
            return [*document[:index], mutate_document(chance, document[index]), *document[index + 1 :]]
        if kind < 0.75:
            return document[:index] + document[index + 1 :]
        # Many small ones: a file of megabytes takes its time, and rightly.
        return document + [document[index]] * (chance.choice((1, 2, 2000)) if len(str(document[index])) < _REPEATED_LETTERS else 1)
    if isinstance(document, int) and not isinstance(document, bool) and chance.random() < 0.7:
        return pick_integer(chance, document)
    if isinstance(document, float) and chance.random() < 0.5:
        return chance.choice((0.0, -1.0, 1e300, -1e300, 1e-300, float("nan"), float("inf"), document * 1000))
    return chance.choice((None, True, False, 0, -1, 1.5, 10**400, 1e308, [], {}, [[]], {"": {}}, [None] * 100, *_TEXTS))


def mutate_json(chance: random.Random, text: str) -> bytes:
    """Change a JSON text: its document, or the text itself."""
    kind = chance.random()
    if kind < 0.75:
        document = json.loads(text)
        for _ in range(chance.randrange(1, 4)):
            document = mutate_document(chance, document)
        return json.dumps(document, ensure_ascii=chance.random() < 0.8).encode("utf-8", "surrogatepass")
    if kind < 0.8:
        depth = chance.choice((100, 2000, 100_000))
        return (chance.choice(("[", '{"a":')) * depth).encode()
    if kind < 0.85:
        return re.sub(r"\d+", "9" * chance.choice((20, 400, 5000)), text, count=chance.randrange(1, 5)).encode()
    if kind < 0.9:
        return chance.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\0")) + text.encode(chance.choice(("utf-8", "utf-16-le")))
    return mutate_bytes(chance, text.encode())


def _parse(content: bytes) -> list[tuple[int, int, bytes]]:
    """Return number, wire type and content of the fields; empty where the bytes aren't a message."""
    fields, position = [], 0
    while position < len(content):
        tag, position = _take(content, position)
        if position < 0 or tag >> 3 == 0 or tag >> 3 > 1000:
            return []
        kind = tag & 7
        start = position
        if kind == 0:
            _, position = _take(content, position)
        elif kind == 2:
            length, start = _take(content, position)
            position = start + length if start >= 0 else -1
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        else:
            return []
        if position < 0 or position > len(content) or len(fields) > 20_000:
            return []
        fields.append((tag >> 3, kind, content[start:position]))
    return fields


def _join(fields: list[tuple[int, int, bytes]]) -> bytes:
    return b"".join(_varint(number << 3 | kind) + (_varint(len(value)) if kind == 2 else b"") + value for number, kind, value in fields)


def _take(content: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(content):
            return 0, -1
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    return 0, -1


def _read_varint(value: bytes) -> int:
    return _take(value, 0)[0]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


Mutation = Callable[[random.Random, bytes], bytes]
