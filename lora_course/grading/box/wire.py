"""What passes between the box and the judge: frames of a kind and a length, arrays without code.

The side that judges believes nothing: kinds, lengths, names, types, shapes and the time are
limited, and whatever breaks a limit is Torn.
"""

import json
import struct
import time

import numpy as np

LIMIT = 4 << 20  # bytes in one frame; the largest honest one is below 1 MB
NAMES = 400  # arrays in one frame
VALUES = 1 << 20  # numbers in one frame
STEP = 0.5  # seconds; a longer pause means that the grader itself was stopped
HEAD = struct.Struct("<cI")


class Torn(Exception):
    """The other side is gone, or it does not keep to the form."""


class Late(Torn):
    """The other side took too long."""


class Deadline:
    """Seconds that the other side has, while it is waited for.

    Time in which this process computes, or is stopped, does not count.
    """

    def __init__(self, seconds):
        self._left, self._seen = seconds, time.monotonic()

    def begin(self):
        self._seen = time.monotonic()

    def left(self):
        now = time.monotonic()
        self._left -= min(now - self._seen, 2 * STEP)
        self._seen = now
        return self._left


def send(channel, kind, payload=b"", deadline=None):
    """One frame. channel: a socket; kind: one byte; deadline: Deadline, or time.monotonic()."""
    deadline = _as_deadline(deadline)
    view = memoryview(HEAD.pack(kind, len(payload)) + payload)
    while view:
        view = view[_in_time(lambda data=view: channel.send(data), channel, deadline) :]


def receive(channel, kinds, deadline=None):
    """The next frame as (kind, payload); kinds: the bytes that are expected here."""
    deadline = _as_deadline(deadline)
    kind, length = HEAD.unpack(_exactly(channel, HEAD.size, deadline))
    if kind not in kinds or length > LIMIT:
        raise Torn
    return kind, _exactly(channel, length, deadline)


def pack_arrays(arrays):
    """Arrays as safetensors; complex and long doubles as the nearest type that has a name."""
    from safetensors.numpy import save

    narrow = {"g": np.float64, "G": np.complex64, "D": np.complex64}
    return save(
        {
            name: np.ascontiguousarray(a, narrow.get(np.asarray(a).dtype.char)).reshape(a.shape)
            for name, a in ((name, np.asarray(a)) for name, a in arrays.items())
        }
    )


def unpack_arrays(payload):
    """The arrays of a frame, own copies, read-only. Raises Torn."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(bytes(payload))
    except (SafetensorError, KeyError, ValueError, TypeError, MemoryError, OverflowError) as error:
        raise Torn from error
    if len(arrays) > NAMES or any(a.dtype.kind not in "biufc" for a in arrays.values()):
        raise Torn
    if sum(a.size for a in arrays.values()) > VALUES:
        raise Torn
    for a in arrays.values():
        a.setflags(write=False)
    return arrays


def unpack_words(payload):
    """The dict of short texts in a frame. Raises Torn."""
    try:
        words = json.loads(bytes(payload[:20_000]))
    except (ValueError, RecursionError) as error:
        raise Torn from error
    if type(words) is not dict or not all(type(w) is str for w in words.values()):
        raise Torn
    return {str(key): word[:2000] for key, word in words.items()}


def _exactly(channel, length, deadline):
    parts = bytearray()
    while len(parts) < length:
        most = min(length - len(parts), 1 << 20)
        part = _in_time(lambda most=most: channel.recv(most), channel, deadline)
        if not part:
            raise Torn
        parts += part
    return bytes(parts)


def _as_deadline(moment):
    return Deadline(moment - time.monotonic()) if isinstance(moment, float) else moment


def _in_time(action, channel, deadline):
    """What the action gives, tried until the deadline."""
    if deadline is not None:
        deadline.begin()
    while True:
        if deadline is not None:
            left = deadline.left()
            if left <= 0:
                raise Late
            channel.settimeout(min(left, STEP))
        try:
            return action()
        except TimeoutError:
            continue
        except OSError as error:
            raise Torn from error
