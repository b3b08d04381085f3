"""Makes another model of a GGUF file: the same weights but for the scale of the
last normalisation, so that it is as fast and answers differently."""

from __future__ import annotations

import struct
from pathlib import Path

# Bytes of the value types of metadata that have a fixed size.
FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY, F32 = 8, 9, 0
TENSOR = "output_norm.weight"


class Reader:
    """Reads the header of a GGUF file."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def number(self, form: str) -> int:
        value = struct.unpack_from("<" + form, self.data, self.at)[0]
        self.at += struct.calcsize(form)
        return value

    def text(self) -> str:
        length = self.number("Q")
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def value(self, kind: int) -> int | None:
        """Skips a value; returns it where it is a 32 bit number."""
        if kind == STRING:
            self.text()
        elif kind == ARRAY:
            inner, count = self.number("I"), self.number("Q")
            for _ in range(count):
                self.value(inner)
        elif kind == 4:
            return self.number("I")
        else:
            self.at += FIXED[kind]
        return None


def rescaled(model: Path, out: Path, factor: float) -> Path:
    """Writes a copy of `model` whose logits are `factor` times as large."""
    data = bytearray(model.read_bytes())
    reader = Reader(bytes(data[: 64 << 20]))
    if reader.number("I") != 0x46554747:
        raise SystemExit(f"{model}: not a GGUF file")
    reader.number("I")
    tensors, pairs = reader.number("Q"), reader.number("Q")
    alignment = 32
    for _ in range(pairs):
        key, kind = reader.text(), reader.number("I")
        value = reader.value(kind)
        if key == "general.alignment" and value:
            alignment = value
    found = None
    for _ in range(tensors):
        name, dimensions = reader.text(), reader.number("I")
        size = 1
        for _ in range(dimensions):
            size *= reader.number("Q")
        kind, offset = reader.number("I"), reader.number("Q")
        if name == TENSOR:
            found = (kind, size, offset)
    if found is None or found[0] != F32:
        raise SystemExit(f"{model}: no tensor {TENSOR} of 32 bit floats")
    _, size, offset = found
    start = -(-reader.at // alignment) * alignment + offset
    values = struct.unpack_from(f"<{size}f", data, start)
    struct.pack_into(f"<{size}f", data, start, *(value * factor for value in values))
    out.write_bytes(data)
    return out
