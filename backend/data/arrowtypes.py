"""What the columns of Parquet and Arrow tables hold, by their types."""

from __future__ import annotations

import pyarrow as pa


def holds_pictures(kind: pa.DataType) -> bool:
    """Whether values are a picture's bytes, or a struct of ``bytes`` and ``path``."""
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _is_binary(kind.field(at).type)
    return _is_binary(kind)


def holds_lists_of_pictures(kind: pa.DataType) -> bool:
    """Whether values are lists of such."""
    return _is_list(kind) and holds_pictures(kind.value_type)


def names_pictures(kind: pa.DataType) -> bool:
    """Whether the struct of a picture says what it is called."""
    if not pa.types.is_struct(kind):
        return False
    at = kind.get_field_index("path")
    return at >= 0 and is_text(kind.field(at).type)


def is_text(kind: pa.DataType) -> bool:
    """Whether values are texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )
