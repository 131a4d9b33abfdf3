"""Functions that ask a device who it is: 17 and 43/14, both directions of both halves (no state).

Their replies say how long they are: 17 by its byte count, 43/14 by its list of objects. What identifies such a reply
(MEI type, access code, object number, counts and lengths) is checked; what it only tells (conformity level, the next
object where none follows) is passed on or left aside.
Source: MODBUS Application Protocol Specification V1.1b3, sections 6.13, 6.19 and 6.21.
"""

from attrs import evolve

from oht50d.codec.modbus_pdu.limits import (
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    MAX_PDU_BYTES,
    ReplyMismatch,
    RequestRefused,
    require_length,
    require_octets,
)
from oht50d.model.bus import (
    DeviceIdAccess,
    DeviceIdentificationReply,
    DeviceObject,
    ReadDeviceIdentification,
    ReportServerId,
    ServerIdReply,
)
from oht50d.model.errors import LocalProtocolError, RemoteProtocolError

IdentityRequest = ReportServerId | ReadDeviceIdentification
IdentityReply = ServerIdReply | DeviceIdentificationReply

MEI_DEVICE_IDENTIFICATION = 14
MAX_SERVER_ID_BYTES = MAX_PDU_BYTES - 2
_MORE, _LAST = 0xFF, 0x00
_OBJECTS_AT = 7
_OBJECT_HEAD_BYTES = 2
_SERVER_ID_AT = 2


def encode_request(request: IdentityRequest) -> bytes:
    """Function code and body. Raises LocalProtocolError if the protocol does not allow it."""
    if isinstance(request, ReportServerId):
        return bytes((request.function,))
    require_octets(request.object_id)
    return bytes((request.function, MEI_DEVICE_IDENTIFICATION, request.access, request.object_id))


def length_so_far(pdu: bytes) -> int:
    """Bytes that the reply beginning like this has at least; exact once `pdu` has them.

    Raises ReplyMismatch for a list that fits no PDU.
    """
    if pdu[0] == ReportServerId.function:
        length = _SERVER_ID_AT + (pdu[1] if len(pdu) > 1 else 0)
    else:
        length = _OBJECTS_AT
        remaining = pdu[_OBJECTS_AT - 1] if len(pdu) >= _OBJECTS_AT else 0
        while remaining > 0:
            content_at = length + _OBJECT_HEAD_BYTES
            content_bytes = pdu[content_at - 1] if len(pdu) >= content_at else 0
            length = content_at + content_bytes
            remaining -= 1
    if length > MAX_PDU_BYTES:
        raise ReplyMismatch(f"a reply of at least {length} bytes fits no PDU")
    return length


def decode_reply(request: IdentityRequest, pdu: bytes) -> IdentityReply:
    """The reply out of one PDU of the request's function. Raises ReplyMismatch for one that answers something else."""
    require_length(pdu, length_so_far(pdu))
    if isinstance(request, ReportServerId):
        if len(pdu) == _SERVER_ID_AT:
            raise ReplyMismatch("a server id without a run indicator")
        return ServerIdReply(request.unit, pdu[_SERVER_ID_AT:])
    if (pdu[1], pdu[2]) != (MEI_DEVICE_IDENTIFICATION, request.access):
        raise ReplyMismatch(f"MEI type {pdu[1]} and access code {pdu[2]} instead of 14 and {int(request.access)}")
    if pdu[4] not in (_MORE, _LAST):
        raise ReplyMismatch(f"{pdu[4]:#04x} does not say whether more follows")
    objects = _objects(pdu)
    if request.access is DeviceIdAccess.INDIVIDUAL and [entry.object_id for entry in objects] != [request.object_id]:
        raise ReplyMismatch(f"not object {request.object_id} alone")
    next_object_id = pdu[5] if pdu[4] == _MORE else None
    return DeviceIdentificationReply(request.unit, request.access, pdu[3], next_object_id, objects)


def continuation(
    request: ReadDeviceIdentification, reply: DeviceIdentificationReply
) -> ReadDeviceIdentification | None:
    """The request for the objects that follow; None after the last.

    Raises RemoteProtocolError unless the numbers rise, so that a list ends after 256 requests at the most.
    """
    if reply.next_object_id is None or request.access is DeviceIdAccess.INDIVIDUAL:
        return None
    seen = max((entry.object_id for entry in reply.objects), default=request.object_id)
    if reply.next_object_id <= max(seen, request.object_id):
        raise RemoteProtocolError(f"after object {seen} follows {reply.next_object_id}: the list has no end")
    return evolve(request, object_id=reply.next_object_id)


def encode_reply(reply: IdentityReply) -> bytes:
    """Function code and body of a device's reply. Raises LocalProtocolError for values that fit no reply."""
    if isinstance(reply, ServerIdReply):
        if not 1 <= len(reply.content) <= MAX_SERVER_ID_BYTES:
            raise LocalProtocolError(f"a server id of {len(reply.content)} bytes")
        return bytes((reply.function, len(reply.content))) + reply.content
    more, next_object_id = (_LAST, 0) if reply.next_object_id is None else (_MORE, reply.next_object_id)
    sizes = [len(entry.content) for entry in reply.objects]
    length = _OBJECTS_AT + sum(sizes) + _OBJECT_HEAD_BYTES * len(sizes)
    if length > MAX_PDU_BYTES:
        raise LocalProtocolError(f"identification objects of {length} bytes fit no PDU")
    require_octets(reply.conformity, next_object_id, *(entry.object_id for entry in reply.objects))
    head = (reply.function, MEI_DEVICE_IDENTIFICATION, reply.access, reply.conformity, more)
    listed = (bytes((entry.object_id, len(entry.content))) + entry.content for entry in reply.objects)
    return bytes((*head, next_object_id, len(sizes))) + b"".join(listed)


def decode_report(unit: int, pdu: bytes) -> ReportServerId:
    """Function 17 as a device hears it."""
    return ReportServerId(unit)


def decode_identification(unit: int, pdu: bytes) -> ReadDeviceIdentification:
    """Function 43/14 as a device hears it. Raises RequestRefused."""
    if pdu[1] != MEI_DEVICE_IDENTIFICATION:
        raise RequestRefused(f"MEI type {pdu[1]} is not served", ILLEGAL_FUNCTION)
    if not DeviceIdAccess.BASIC <= pdu[2] <= DeviceIdAccess.INDIVIDUAL:
        raise RequestRefused(f"access code {pdu[2]} does not exist", ILLEGAL_VALUE)
    return ReadDeviceIdentification(unit, DeviceIdAccess(pdu[2]), pdu[3])


def _objects(pdu: bytes) -> tuple[DeviceObject, ...]:
    """The list of a reply whose length was found to be right."""
    found = []
    at = _OBJECTS_AT
    for _ in range(pdu[_OBJECTS_AT - 1]):
        content_at = at + _OBJECT_HEAD_BYTES
        at = content_at + pdu[at + 1]
        found.append(DeviceObject(pdu[content_at - _OBJECT_HEAD_BYTES], pdu[content_at:at]))
    return tuple(found)
