"""Just enough protobuf for `kubectl create namespace`, which sends nothing else: the metadata of an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .status import bad_request

if TYPE_CHECKING:
    from collections.abc import Iterator

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _BYTES = 0, 2
_TYPE_META, _RAW = 1, 2
_API_VERSION, _KIND = 1, 2
_METADATA = 1
_TEXTS = {1: "name", 2: "generateName", 3: "namespace"}
_MAPS = {11: "labels", 12: "annotations"}


def read_metadata(body: bytes) -> dict[str, Any]:
    """Read kind, apiVersion and metadata of an object; the rest of it is dropped. Raises StatusError 400."""
    try:
        envelope = dict(_fields(body.removeprefix(_MAGIC)))
        about = dict(_fields(envelope[_TYPE_META]))
        metadata: dict[str, Any] = {}
        for number, value in _fields(dict(_fields(envelope[_RAW])).get(_METADATA, b"")):
            if number in _TEXTS:
                metadata[_TEXTS[number]] = value.decode()
            elif number in _MAPS:
                entry = dict(_fields(value))
                metadata.setdefault(_MAPS[number], {})[entry[1].decode()] = entry.get(2, b"").decode()
        return {"kind": about[_KIND].decode(), "apiVersion": about[_API_VERSION].decode(), "metadata": metadata}
    except (KeyError, IndexError, ValueError) as error:
        message = f"the object provided is unrecognized: no Kubernetes protobuf: {error!r}"
        raise bad_request(message) from None


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each length-delimited field; numbers are skipped."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        length, at = _varint(data, at)
        if tag & 7 == _BYTES:
            if at + length > len(data):
                message = "the message is cut off"
                raise ValueError(message)
            yield tag >> 3, data[at : at + length]
            at += length
        elif tag & 7 != _VARINT:
            message = f"field type {tag & 7}"
            raise ValueError(message)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, at
