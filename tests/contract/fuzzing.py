"""How far requests and commands are made up, and the requests: every field of a message, with what is near its bounds.

`FUZZ_EXAMPLES=20000 pytest tests/contract/test_fuzz_wire.py` makes up other ones each time, and so many.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

USUAL = 120
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", USUAL))
FUZZED = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES == USUAL,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
"""Of a test that makes things up."""
_DEEPEST = 3
_CAT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
)
WORDS = (
    *(
        "",
        " ",
        "a cat",
        "<ref1> moves",
        "[Image 2]",
        "\0",
        "\u2028",
        "\U0001f3ac" * 9,
        "-",
        "x" * 5000,
        "é" * 4000,
        "\U0001f3ac" * 20_000,
    ),
    *("1:1", "16:9", "480p", "1k", "av1", "studio-1", "all"),
    *("vid_" + "a" * 26, "file_" + "a" * 26, "vid_", "../../etc/passwd", "é"),
    *(_CAT, "data:,", "data:image/png;base64,AAAA", " http://127.0.0.1:1/x", "http://[", "http://a\nb/", "ftp://x/"),
    *("bmFu", "W10=", "eyI=", "size_bytes > 1", 'name = "a"', "NOT (", "=" * 50),
)
"""Texts that mean something somewhere."""
_NUMBERS = (0, 1, -1, 2, 8, 2**31 - 1, -(2**31))
_LARGE = (2**63 - 1, -(2**63), 253_402_300_800, 10**12)


def messages(kind: Any, words: Sequence[str], depth: int = 0) -> st.SearchStrategy[Message]:
    """Messages of a descriptor's kind, any of its fields set, with texts that are often among `words`."""
    fields = {field.name: _values(field, words, depth) for field in kind.fields if depth < _DEEPEST or not _deep(field)}
    made = GetMessageClass(kind)
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: made(**given))


def _deep(field: FieldDescriptor) -> bool:
    return field.message_type is not None


def _values(field: FieldDescriptor, words: Sequence[str], depth: int) -> st.SearchStrategy[Any]:
    one = _value(field, words, depth)
    return st.lists(one, max_size=3) if field.is_repeated else one


def _value(field: FieldDescriptor, words: Sequence[str], depth: int) -> st.SearchStrategy[Any]:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_MESSAGE:
            return messages(field.message_type, words, depth + 1)
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=30)
        case FieldDescriptor.CPPTYPE_STRING:
            return st.sampled_from(words) | st.text(max_size=20)
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_INT64:
            return st.sampled_from((*_NUMBERS, *_LARGE)) | st.integers(-(2**63), 2**63 - 1)
        case FieldDescriptor.CPPTYPE_INT32:
            return st.sampled_from(_NUMBERS) | st.integers(-(2**31), 2**31 - 1)
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return st.floats(width=32)
        case FieldDescriptor.CPPTYPE_ENUM:
            return st.sampled_from((0, 1, 2, 99, -1))
    raise NotImplementedError(f"{field.full_name}: say how it is made up")
