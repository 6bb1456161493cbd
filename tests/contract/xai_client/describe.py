"""Print the wire of a package's xai_api modules as JSON. `test_xai_wire.py` runs it for ours and for the client's.

Both register the same proto names, so one process cannot hold both.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor

MODULES = ("auth", "batch", "deferred", "files", "image", "models", "usage", "video")


def field_of(field: FieldDescriptor) -> dict[str, Any]:
    inner = field.message_type or field.enum_type
    return {
        "name": field.name,
        "type": field.type,
        "of": inner.full_name if inner else "",
        "repeated": field.is_repeated,
        "presence": field.has_presence,
        "oneof": field.containing_oneof.name if field.containing_oneof else "",
    }


def collect(message: Descriptor, messages: dict[str, Any], enums: dict[str, Any]) -> None:
    messages[message.full_name] = {str(field.number): field_of(field) for field in message.fields}
    for nested in message.nested_types:
        collect(nested, messages, enums)
    for enum in message.enum_types:
        enums[enum.full_name] = values_of(enum)


def values_of(enum: EnumDescriptor) -> dict[str, int]:
    return {value.name: value.number for value in enum.values}


def describe(package: str) -> dict[str, Any]:
    messages: dict[str, Any] = {}
    enums: dict[str, Any] = {}
    methods: dict[str, Any] = {}
    for module in MODULES:
        file: FileDescriptor = importlib.import_module(f"{package}.{module}_pb2").DESCRIPTOR
        for message in file.message_types_by_name.values():
            collect(message, messages, enums)
        for enum in file.enum_types_by_name.values():
            enums[enum.full_name] = values_of(enum)
        for service in file.services_by_name.values():
            for method in service.methods:
                methods[f"/{service.full_name}/{method.name}"] = [
                    method.input_type.full_name,
                    method.output_type.full_name,
                    method.client_streaming,
                    method.server_streaming,
                ]
    return {"messages": messages, "enums": enums, "methods": methods}


if __name__ == "__main__":
    print(json.dumps(describe(sys.argv[1])))
