"""The robot's safety in one word, judged by the present alone (API.md, section 6: the front end's four words; pure).

A stop that is over, an old latch and an old decision say nothing: a word for people must not be history.
"""

import enum

from oht50d.core.failsafes import FAILSAFES
from oht50d.core.zones import WATCH_ZONE
from oht50d.model.lidar import LidarLinkState
from oht50d.model.motion import StopKind, StopPhase
from oht50d.model.registers import Quality, Reading
from oht50d.model.snapshot import Snapshot

CHAIN_FRESH_NS = 1_000_000_000
"""The chain is read every 50 ms; an older level is unknown."""

_UNDER_WAY = frozenset({StopPhase.SENDING, StopPhase.STOPPING, StopPhase.NOT_CONFIRMED})


class SafetyWord(enum.Enum):
    """Nothing is against it; something is; people may be in danger; nobody knows."""

    SAFE = "SAFE"
    WARNING = "WARNING"
    EMERGENCY = "EMERGENCY"
    UNAVAILABLE = "UNAVAILABLE"


def evaluate_safety_word(snapshot: Snapshot, now_ns: int) -> SafetyWord:
    """UNAVAILABLE without a fresh reading of the chain, whatever else is known; then the worst that stands now."""
    chain = snapshot.role("chain.open")
    if chain is None or now_ns - chain.received_ns > CHAIN_FRESH_NS:
        return SafetyWord.UNAVAILABLE
    if _is_open(chain) or _is_emergency(snapshot):
        return SafetyWord.EMERGENCY
    return SafetyWord.WARNING if _is_warning(snapshot) else SafetyWord.SAFE


def _is_open(chain: Reading) -> bool:
    """Only a plain zero is closed: what the register may not hold counts as open, as the safety step judges it."""
    return chain.quality is not Quality.GOOD or chain.raw != 0


def _is_emergency(snapshot: Snapshot) -> bool:
    stop, decision = snapshot.stop, snapshot.decision
    is_s0_under_way = stop is not None and stop.kind is StopKind.S0 and stop.phase in _UNDER_WAY
    standing = (*snapshot.latched_causes, *decision.stop_causes, *decision.inhibits)
    return is_s0_under_way or decision.stop is StopKind.S0 or any(FAILSAFES[c.code].is_person_related for c in standing)


def _is_warning(snapshot: Snapshot) -> bool:
    """Latched, blind, something in a zone that slows or stops, or a cause that is more than the want of an order."""
    decision = snapshot.decision
    is_blind = snapshot.lidar.state is not LidarLinkState.SCANNING
    standing = (*decision.stop_causes, *decision.inhibits)
    has_concern = any(not FAILSAFES[cause.code].is_ordinary for cause in standing)
    is_near = any(hit.zone != WATCH_ZONE for hit in decision.hits)
    return snapshot.is_latched or is_blind or is_near or has_concern
