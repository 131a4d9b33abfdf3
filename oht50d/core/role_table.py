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


_Places = dict[str, tuple[int, RegisterSpec]]
"""Where the roles of one block stand: index and register."""


class RoleTable:
    """Roles to readings; bounded by the roles of the loaded maps. A reading is made when it is first asked for."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[BlockReadings, _Places]] = {}
        self._made: dict[str, tuple[BlockReadings, RoleReading]] = {}
        self._places: dict[tuple[int, int, int], tuple[tuple[str, ...], _Places]] = {}

    def apply(self, block: BlockReadings) -> tuple[str, ...]:
        """Take the roles of one reply; the roles that it carried are returned."""
        key = (block.block.unit, block.block.first, block.block.count)
        known = self._places.get(key)
        if known is None:
            specs = enumerate(block.block.specs)
            places = {spec.role: (index, spec) for index, spec in specs if spec.role is not None}
            known = self._places[key] = (tuple(places), places)
        roles, places = known
        if roles:
            self._newest.update(dict.fromkeys(roles, (block, places)))
        return roles

    def get(self, role: str) -> RoleReading | None:
        newest = self._newest.get(role)
        if newest is None:
            return None
        block, places = newest
        made = self._made.get(role)
        if made is not None and made[0] is block:
            return made[1]
        index, spec = places[role]
        reading = RoleReading(
            block.values[index],
            raw_of_word(spec, block.words[index]),
            block.requested_ns,
            block.received_ns,
            block.qualities[index] is Quality.GOOD,
        )
        self._made[role] = (block, reading)
        return reading

    def number(self, role: str) -> float | None:
        """The usable numeric value of a role; None if unknown, unusable or a text."""
        reading = self.get(role)
        if reading is None or not reading.is_usable or isinstance(reading.value, str):
            return None
        return float(reading.value)
