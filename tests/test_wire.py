"""What crosses between box and judge: arrays whole, everything else torn or late."""

import socket
import time

import numpy as np
import pytest
from safetensors import SafetensorError

from lora_course.grading.box import wire


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_arrays_cross_the_wire():
    sent = {
        "number": np.array(3.5),
        "empty": np.zeros((0, 4), np.int8),
        "flags": np.array([True, False]),
        "turned": np.arange(6.0).reshape(2, 3).T,
        "wide": np.array([1 + 2j]),
        "big": np.array([2**63], np.uint64),
    }
    got = wire.unpack_arrays(wire.pack_arrays(sent))
    assert got.keys() == sent.keys()
    for key, value in sent.items():
        assert np.array_equal(got[key], value) and got[key].shape == value.shape
        assert not got[key].flags.writeable


def test_pickles_do_not_cross():
    with pytest.raises(SafetensorError):
        wire.pack_arrays({"x": np.array([object()])})


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x80\x04\x95",
        b"PK\x03\x04" * 20,
        b"\x93NUMPY\x01\x00",
        (1 << 62).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}" + b"more",
        (58).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[9999999],"data_offsets":[0,4]}}'[:58],
        wire.pack_arrays({str(i): np.zeros(1) for i in range(wire.NAMES + 1)}),
    ],
)
def test_torn_arrays(payload):
    with pytest.raises(wire.Torn):
        wire.unpack_arrays(payload)


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b'{"a": 1}', b"[" * 30_000, b'{"a": null}'])
def test_torn_words(payload):
    with pytest.raises(wire.Torn):
        wire.unpack_words(payload)


def test_torn_frames(pair):
    ours, theirs = pair
    theirs.sendall(b"x\0\0\0\0")
    with pytest.raises(wire.Torn):
        wire.receive(ours, b"ab")
    theirs.sendall(b"a\xff\xff\xff\xff")
    with pytest.raises(wire.Torn):
        wire.receive(ours, b"ab")
    theirs.sendall(b"a\x10\0\0\0abc")
    theirs.close()
    with pytest.raises(wire.Torn):
        wire.receive(ours, b"ab")


def test_late_frames(pair):
    ours, _ = pair
    start = time.monotonic()
    with pytest.raises(wire.Late):
        wire.receive(ours, b"a", start + 0.1)
    with pytest.raises(wire.Late):  # nobody reads
        wire.send(ours, b"a", bytes(10 << 20), time.monotonic() + 0.1)
    assert time.monotonic() - start < 2


def test_a_pause_of_the_grader_does_not_count(monkeypatch):
    """Ctrl-Z and fg, an hour later: the other side still has its time."""
    now = [100.0]
    monkeypatch.setattr(wire.time, "monotonic", lambda: now[0])
    deadline = wire.Deadline(10)
    now[0] += 3600
    assert deadline.left() == 10 - 2 * wire.STEP
    now[0] += 0.25
    assert deadline.left() == 10 - 2 * wire.STEP - 0.25
    now[0] += 3600  # the judge computes
    deadline.begin()
    assert deadline.left() == 10 - 2 * wire.STEP - 0.25


def test_many_numbers_are_torn():
    with pytest.raises(wire.Torn):
        wire.unpack_arrays(wire.pack_arrays({"x": np.zeros(wire.VALUES + 1, np.int8)}))
