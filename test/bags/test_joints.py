"""JointState as drivers send it, also without velocities and efforts."""

import struct

import pytest

from jepa_ros.sensing.decode.joints import joints_of


def cdr(names, positions, order="<"):
    """As DDS writes it: nothing is aligned for the numbers of an empty list."""
    body = struct.pack(order + "iI", 12, 500) + struct.pack(order + "I", 5) + b"base\x00"

    def pad(size):
        return b"\x00" * (-len(body) % size)

    body += pad(4) + struct.pack(order + "I", len(names))
    for name in names:
        body += pad(4) + struct.pack(order + "I", len(name) + 1) + name.encode() + b"\x00"
    body += pad(4) + struct.pack(order + "I", len(positions))
    if positions:
        body += pad(8) + struct.pack(order + f"{len(positions)}d", *positions)
    body += struct.pack(order + "II", 0, 0)
    return (b"\x00\x01\x00\x00" if order == "<" else b"\x00\x00\x00\x00") + body


@pytest.mark.parametrize("order", ["<", ">"])
def test_names_and_positions(order):
    joints = joints_of(cdr(["elbow", "gripper"], [0.5, 0.04], order))
    assert joints == (12_000_000_500, ("elbow", "gripper"), (0.5, 0.04))
    assert joints_of(cdr(["a"], [], order)).positions == ()


@pytest.mark.parametrize(
    "data", [b"", b"\x00\x01\x00\x00", cdr(["a", "b"], [1.0])[:30], cdr(["a", "b"], [1.0])], ids=["none", "head", "cut", "odd"]
)
def test_what_is_none_is_refused(data):
    with pytest.raises(ValueError, match="no JointState"):
        joints_of(data)
