"""A node's attributes, read and changed."""

from __future__ import annotations

from typing import Any

from onnx import NodeProto, helper


def attributes(node: NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values."""
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def with_attributes(node: NodeProto, **changed: Any) -> NodeProto:
    """A copy of a node with other attributes; None removes one."""
    made = NodeProto()
    made.CopyFrom(node)
    kept = [each for each in node.attribute if each.name not in changed]
    del made.attribute[:]
    made.attribute.extend(kept)
    made.attribute.extend(helper.make_attribute(name, value) for name, value in changed.items() if value is not None)
    return made
