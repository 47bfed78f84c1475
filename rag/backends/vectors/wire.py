"""The frames between a client and the Edge worker: a length, then MessagePack; vectors as raw native floats.

A request is a list, the operation's name first; a reply is (outcome, value). The worker imports this module, so it
imports little.
"""

from __future__ import annotations

import socket
import struct
from typing import Any, Literal

import ormsgpack

PROTOCOL = 4
MAX_FRAME_BYTES = 64 << 20

Outcome = Literal["done", "failed"]

HEADER = struct.Struct(">I")


class FrameError(Exception):
    """The other side sent what is no frame."""


def pack(message: Any) -> bytes:
    """A message as a frame.

    Raises:
        FrameError: it is longer than `MAX_FRAME_BYTES`.
    """
    body = ormsgpack.packb(message)
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {len(body)} bytes exceeds the limit of {MAX_FRAME_BYTES}")
    return HEADER.pack(len(body)) + body


def body_length(header: bytes | bytearray) -> int:
    """The length that a header announces.

    Raises:
        FrameError: it is longer than `MAX_FRAME_BYTES`.
    """
    length: int = HEADER.unpack(header)[0]
    if length > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {length} bytes exceeds the limit of {MAX_FRAME_BYTES}")
    return length


def unpack(body: bytes | bytearray) -> Any:
    """The message in a frame's body.

    Raises:
        FrameError: it is no MessagePack.
    """
    try:
        return ormsgpack.unpackb(body)
    except ormsgpack.MsgpackDecodeError as error:
        raise FrameError(f"a frame is not MessagePack: {error}") from None


def receive(connection: socket.socket) -> Any:
    """Block until the next message.

    Raises:
        EOFError: the other side closed the connection.
        FrameError: it sent what is no frame.
        OSError: the connection broke.
    """
    return unpack(_read(connection, body_length(_read(connection, HEADER.size))))


def ask(connection: socket.socket, *request: Any) -> Any:
    """Send a request and block for its reply. Raises what `receive` raises."""
    connection.sendall(pack(request))
    return receive(connection)


def _read(connection: socket.socket, length: int) -> bytearray:
    buffer = bytearray(length)
    view = memoryview(buffer)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise EOFError("the connection was closed")
        view = view[count:]
    return buffer
