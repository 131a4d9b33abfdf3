"""Damage to a frame on its way (no state)."""

import random


def flipped(octets: bytes, rng: random.Random) -> bytes:
    """Damage that a CRC-16 always shows in frames of this length: 1 to 3 bits, or one burst of at most 16 bits.

    Bits count in the order of the line, the lowest of each byte first. Of random rubbish one frame in 65,536 passes.
    """
    number, bits = int.from_bytes(octets, "little"), 8 * len(octets)
    if rng.random() < 0.5:
        for bit in rng.sample(range(bits), rng.randint(1, 3)):
            number ^= 1 << bit
    else:
        length = rng.randint(2, min(16, bits))
        burst = 1 | 1 << (length - 1) | rng.getrandbits(length)
        number ^= burst << rng.randint(0, bits - length)
    return number.to_bytes(len(octets), "little")
