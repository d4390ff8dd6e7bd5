"""What passes between the box and the judge: frames of a kind and a length, arrays without code.

The side that judges believes nothing: kinds, lengths, names, types, shapes and the time are
limited, and whatever breaks a limit is Torn.
"""

import json
import struct
import time

import numpy as np

LIMIT = 64 << 20  # bytes in one frame; the largest honest one is below 1 MB
NAMES = 400  # arrays in one frame
HEAD = struct.Struct("<cI")


class Torn(Exception):
    """The other side is gone, or it does not keep to the form."""


class Late(Torn):
    """The other side took too long."""


def send(channel, kind, payload=b"", deadline=None):
    """One frame. channel: a socket; kind: one byte."""
    _wait(channel, deadline)
    try:
        channel.sendall(HEAD.pack(kind, len(payload)) + payload)
    except TimeoutError as error:
        raise Late from error
    except OSError as error:
        raise Torn from error


def receive(channel, kinds, deadline=None):
    """The next frame as (kind, payload); kinds: the bytes that are expected here."""
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
        _wait(channel, deadline)
        try:
            part = channel.recv(min(length - len(parts), 1 << 20))
        except TimeoutError as error:
            raise Late from error
        except OSError as error:
            raise Torn from error
        if not part:
            raise Torn
        parts += part
    return bytes(parts)


def _wait(channel, deadline):
    """The channel gives up at the deadline (of time.monotonic)."""
    if deadline is not None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise Late
        channel.settimeout(left)
