"""A small ONNX judge, written byte by byte: the tests need no network and no onnx package."""

from pathlib import Path


def save_onnx(path: Path) -> Path:
    """A network from ``image`` (n, 3, 224, 224) to 48 ``features``: means of 56x56 blocks."""
    pool = _node("AveragePool", "image", "pooled", _ints("kernel_shape") + _ints("strides"))
    flatten = _node("Flatten", "pooled", "features", b"")
    graph = b"".join(
        [
            _bytes(1, pool),
            _bytes(1, flatten),
            _bytes(2, b"judge"),
            _bytes(11, _tensor("image", ["n", 3, 224, 224])),
            _bytes(12, _tensor("features", ["n", 48])),
        ]
    )
    model = _number(1, 8) + _bytes(8, _number(2, 13)) + _bytes(7, graph)
    path.write_bytes(model)
    return path


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _ints(name: str) -> bytes:
    values = _number(8, 56) + _number(8, 56)
    return _bytes(5, _bytes(1, name.encode()) + values + _number(20, 7))


def _node(kind: str, source: str, target: str, attributes: bytes) -> bytes:
    names = _bytes(1, source.encode()) + _bytes(2, target.encode()) + _bytes(4, kind.encode())
    return names + attributes


def _tensor(name: str, shape: list[str | int]) -> bytes:
    sizes = b"".join(
        _bytes(1, _bytes(2, s.encode()) if isinstance(s, str) else _number(1, s)) for s in shape
    )
    kind = _bytes(1, _number(1, 1) + _bytes(2, sizes))  # 1: float32
    return _bytes(1, name.encode()) + _bytes(2, kind)
