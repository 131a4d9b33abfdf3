"""Ten million fuzzed octets for every decoder of the LiDAR and for its client, in chunks to be resumed."""

import pytest
from rplidar_fuzz import FUZZERS

TOTAL = 10_000_000
CHUNKS = 5
VALUES_SHARE = 20

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("number", range(CHUNKS))
@pytest.mark.parametrize("name", FUZZERS)
def test_chunk_of_fuzzed_octets(name: str, number: int) -> None:
    amount = TOTAL // CHUNKS // (VALUES_SHARE if name == "values" else 1)
    fed = FUZZERS[name](5000 + number, amount)
    print(f"{name}: {fed} octets")
    assert fed >= amount
