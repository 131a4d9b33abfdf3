"""A million fuzzed octets over all decoders and the client; tests/soak has ten million, of other seeds."""

import pytest
from rplidar_fuzz import FUZZERS

TOTAL = 1_000_000
# The value decoders take a twentieth: theirs are short, and each goes to all of them.
AMOUNTS = {name: TOTAL // 20 if name == "values" else TOTAL * 19 // 20 // (len(FUZZERS) - 1) + 1 for name in FUZZERS}


def test_the_shares_make_a_million() -> None:
    assert sum(AMOUNTS.values()) >= TOTAL


@pytest.mark.parametrize("name", FUZZERS)
def test_fuzzed_octets_do_no_harm(name: str) -> None:
    assert FUZZERS[name](1, AMOUNTS[name]) >= AMOUNTS[name]
