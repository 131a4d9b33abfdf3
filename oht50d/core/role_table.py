"""The newest reading of every role (owner: whoever holds the instance; pure)."""

from attrs import frozen

from oht50d.codec.registers import raw_of_word
from oht50d.model.registers import BlockReadings, Quality, RegisterSpec, RegisterValue


@frozen
class RoleReading:
    """A role's last value; `is_usable` is False outside its range or code list.

    `raw` is the number without what its type leaves open: dirt in the high byte of an 8-bit register is not in it.
    """

    value: RegisterValue
    raw: int
    requested_ns: int
    received_ns: int
    is_usable: bool

    def age_ns(self, now_ns: int) -> int:
        return now_ns - self.received_ns


class RoleTable:
    """Roles to readings; bounded by the roles of the loaded maps."""

    def __init__(self) -> None:
        self._readings: dict[str, RoleReading] = {}
        self._indices: dict[tuple[int, int, int], tuple[tuple[int, RegisterSpec, str], ...]] = {}

    def apply(self, block: BlockReadings) -> tuple[str, ...]:
        """Store the roles of one reply; the roles that it carried are returned."""
        place = (block.block.unit, block.block.first, block.block.count)
        indices = self._indices.get(place)
        if indices is None:
            specs = enumerate(block.block.specs)
            indices = tuple((index, spec, spec.role) for index, spec in specs if spec.role is not None)
            self._indices[place] = indices
        for index, spec, role in indices:
            self._readings[role] = RoleReading(
                block.values[index],
                raw_of_word(spec, block.words[index]),
                block.requested_ns,
                block.received_ns,
                block.qualities[index] is Quality.GOOD,
            )
        return tuple(role for _, _, role in indices)

    def get(self, role: str) -> RoleReading | None:
        return self._readings.get(role)

    def number(self, role: str) -> float | None:
        """The usable numeric value of a role; None if unknown, unusable or a text."""
        reading = self._readings.get(role)
        if reading is None or not reading.is_usable or isinstance(reading.value, str):
            return None
        return float(reading.value)
