"""Ways to damage a file by a seed: bytes, numbers of headers, compressed parts, JSON, CSV and XML."""

from __future__ import annotations

import gzip
import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["damage"]

_HUGE = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
_NUMBERS = ("0", "-1", "65536", "2147483648", "99999999999999999999", "1e308", "nan", "inf", "x", "", "0.0000001")
_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 2**31, 10**30, 1e308, float("nan"), float("-inf"), "", "x", "../../../etc/passwd"),
    *([], {}, [1, 2, 3], ["a", None], {"a": {"b": 1}}, "a" * 100_000, "\ud800", "C:\\a\\b", "/dev/zero", [[]] * 1000),
)
_DEEP = 2_000  # levels: twice as many as Python's parser goes down
_CELLS = (
    *("", " ", '"', "../../../../etc/passwd", "/dev/zero", "C:\\x.png", "a" * 200_000, "\0", "\n", "é", "images", "."),
    *("images/a.png", "a.png", "=1+1", "nan", "masks/a.png", "images/../images/a.png", ",,,,", "a\x00b.png", "x" * 300),
)
_ENTITIES = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'  # a parser that expands them shows it

_Change = Callable[[bytes, np.random.Generator], bytes]


def damage(target: Path, text: str, rng: np.random.Generator) -> str:
    """Damage a file, or a file of a folder, in place; return how.

    Parameters
    ----------
    target : Path
    text : "json", "csv", "xml", "tensors" or ""
        What else than bytes the file holds.
    rng : Generator
    """
    file = target
    if target.is_dir():
        files = sorted(path for path in target.rglob("*") if path.is_file())
        texts = [path for path in files if path.name.startswith((".z", "zarr"))]
        file = files[rng.integers(len(files))] if not texts or rng.random() < 0.5 else texts[rng.integers(len(texts))]
        if rng.random() < 0.1:
            file.unlink()
            return f"{file.name}: removed"
        text = "json" if file in texts else ""
    ways = [*_OF_BYTES, *_OF_TEXT.get(text, ()), *_OF_TEXT.get(text, ()), *_OF_SUFFIX.get(file.suffix, ())]
    way = ways[rng.integers(len(ways))]
    file.write_bytes(way(file.read_bytes(), rng))
    return f"{file.name}: {way.__name__.strip('_')}"


# --- bytes ---


def _place(content: bytes, rng: np.random.Generator) -> int:
    """A position, in the first 600 bytes every other time: headers are most of what can go wrong."""
    reach = min(600, len(content)) if rng.random() < 0.5 else len(content)
    return int(rng.integers(0, max(reach, 1)))


def _flipped(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 9)) if content else 0):
        changed[_place(content, rng)] = int(rng.integers(0, 256))
    return bytes(changed)


def _one_bit(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    if content:
        changed[_place(content, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _huge_number(content: bytes, rng: np.random.Generator) -> bytes:
    size, value = int(rng.choice([2, 4, 8])), _HUGE[rng.integers(len(_HUGE))]
    at = _place(content, rng) // 2 * 2
    packed = (value % (1 << 8 * size)).to_bytes(size, "little" if rng.random() < 0.5 else "big")
    return content[:at] + packed + content[at + size :]


def _zeroed(content: bytes, rng: np.random.Generator) -> bytes:
    at, n = _place(content, rng), int(2 ** rng.uniform(0, 10))
    n = min(n, len(content) - at)
    return content[:at] + bytes(n) + content[at + n :]


def _repeated(content: bytes, rng: np.random.Generator) -> bytes:
    at, n = _place(content, rng), int(2 ** rng.uniform(0, 10))
    return content[: at + n] + content[at:]


def _truncated(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: _place(content, rng)]


def _enlarged(content: bytes, rng: np.random.Generator) -> bytes:
    return content + (
        bytes(rng.integers(0, 256, int(rng.integers(1, 5000)), np.uint8)) if rng.random() < 0.5 else content
    )


def _swapped(content: bytes, rng: np.random.Generator) -> bytes:
    """Two entries of 12 bytes, as TIFF has for its tags, or of 4 as other headers have."""
    n = int(rng.choice([4, 12, 20]))
    a, b = sorted(_place(content, rng) // 2 * 2 for _ in range(2))
    if b < a + n or b + n > len(content):
        return content[::-1] if rng.random() < 0.1 else _flipped(content, rng)
    return content[:a] + content[b : b + n] + content[a + n : b] + content[a : a + n] + content[b + n :]


def _written_number(content: bytes, rng: np.random.Generator) -> bytes:
    """A number that stands as text in the first 4000 bytes."""
    found = list(re.finditer(rb"\d+(\.\d+)?", content[:4000]))
    if not found:
        return _huge_number(content, rng)
    start, stop = found[rng.integers(len(found))].span()
    return content[:start] + _NUMBERS[rng.integers(len(_NUMBERS))].encode() + content[stop:]


# --- what a checksum or a compression guards ---


def _png_chunk(content: bytes, rng: np.random.Generator) -> bytes:
    """A chunk with another content and the checksum of it, or without its place."""
    chunks, at = [], 8
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += length + 12
    way = rng.integers(3)
    index = int(rng.integers(len(chunks)))
    if way == 0:
        index, way = 0, 1
    name, data = chunks[index]
    if way == 1:
        chunks[index] = (name, (_huge_number if rng.random() < 0.5 else _flipped)(data, rng))
    else:
        chunks.insert(int(rng.integers(len(chunks))), chunks.pop(index))
    packed = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return content[:8] + b"".join(packed)


def _inside_gzip(content: bytes, rng: np.random.Generator) -> bytes:
    try:
        plain = gzip.decompress(content[:200_000])
    except (OSError, EOFError, zlib.error):
        return _flipped(content, rng)
    return gzip.compress(_OF_BYTES[rng.integers(len(_OF_BYTES))](plain, rng))


def _entities(content: bytes, rng: np.random.Generator) -> bytes:
    """XML whose root is an entity of its own, which is not to be expanded; of the same length where that is fixed."""
    start = content.find(b"<?xml")
    start = start if start >= 0 else content.find(b"<ImageDocument")
    if start < 0:
        return _flipped(content, rng)
    end = content.find(b"\0", start)
    end = end if end > 0 else len(content)
    bomb = f"{_ENTITIES}<OME>&b;</OME>".encode()
    return content[:start] + bomb[: end - start].ljust(end - start) + content[end:]


def _xml_attribute(content: bytes, rng: np.random.Generator) -> bytes:
    """The value of an attribute, in its own length."""
    found = [m for m in re.finditer(rb'="([^"<>]*)"', content) if m.end() > m.start() + 3]
    if not found:
        return _flipped(content, rng)
    start, stop = found[rng.integers(len(found))].span(1)
    value = _NUMBERS[rng.integers(len(_NUMBERS))].encode()
    return content[:start] + value[: stop - start].ljust(stop - start) + content[stop:]


# --- JSON and tables ---


def _nodes(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) below a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [node for key, inner in list(pairs) for node in ((value, key), *_nodes(inner))]


def _json_value(content: bytes, rng: np.random.Generator) -> bytes:
    """A value that is removed, of another type, or goes down 2,000 levels."""
    lines = content.splitlines() or [b""]
    index = int(rng.integers(len(lines))) if content.startswith(b'{"step"') else -1
    try:
        whole = {"all": json.loads(content if index < 0 else lines[index])}
    except ValueError:
        return _flipped(content, rng)
    nodes = _nodes(whole)
    container, key = nodes[rng.integers(len(nodes))]
    way = rng.random()
    if way < 0.25 and container is not whole:
        del container[key]
    elif way < 0.85:
        container[key] = _VALUES[rng.integers(len(_VALUES))]
    else:
        container[key] = "DEEP"
    deep = "[" * _DEEP + "]" * _DEEP if rng.random() < 0.5 else '{"a":' * _DEEP + "1" + "}" * _DEEP
    changed = json.dumps(whole["all"]).replace('"DEEP"', deep).encode()
    if index < 0:
        return changed
    return b"".join(line + b"\n" for line in (*lines[:index], changed, *lines[index + 1 :]))


def _tensors_header(content: bytes, rng: np.random.Generator) -> bytes:
    """The JSON before the tensors of a safetensors file, or the card in it."""
    (n,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + n])
    if rng.random() < 0.7 and header.get("__metadata__", {}).get("unetkit"):
        card = header["__metadata__"]["unetkit"].encode()
        header["__metadata__"]["unetkit"] = _json_value(card, rng).decode("utf-8", "replace")
        changed = json.dumps(header).encode()
    else:
        changed = _json_value(content[8 : 8 + n], rng)
    return struct.pack("<Q", len(changed)) + changed + content[8 + n :]


def _cell(content: bytes, rng: np.random.Generator) -> bytes:
    rows = [line.split(",") for line in content.decode().splitlines()]
    row = rows[rng.integers(len(rows))]
    row[rng.integers(len(row))] = _CELLS[rng.integers(len(_CELLS))]
    if rng.random() < 0.3:
        rows[rng.integers(len(rows))] = row * int(rng.integers(1, 4))
    return "\n".join(",".join(row) for row in rows).encode("utf-8" if rng.random() < 0.8 else "utf-16")


_OF_BYTES: tuple[_Change, ...] = (
    *(_flipped, _one_bit, _huge_number, _huge_number, _zeroed, _repeated, _truncated, _enlarged, _swapped),
    _written_number,
)
_OF_TEXT: dict[str, tuple[_Change, ...]] = {
    "json": (_json_value,) * 8,
    "tensors": (_tensors_header,) * 5,
    "csv": (_cell,) * 6,
    "xml": (_entities, _xml_attribute, _xml_attribute),
}
_OF_SUFFIX: dict[str, tuple[_Change, ...]] = {".png": (_png_chunk,) * 6, ".gz": (_inside_gzip,) * 8}
