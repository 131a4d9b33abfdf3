"""What the local socket shows of the bus: statistics and frames as JSON trees (no state)."""

from collections.abc import Mapping

from oht50d.core.bus_sight import Sight
from oht50d.core.bus_stats import UnitStats
from oht50d.core.bus_trace import MAX_BYTES, MAX_FRAMES, TracedFrame
from oht50d.core.frame_reader import DecodedFrame, FrameValue
from oht50d.core.history import finite
from oht50d.core.turnaround_histogram import BUCKETS_NS
from oht50d.core.wire_time import WINDOW_S, WireShares
from oht50d.model.registers import ModuleMap, Quality
from oht50d.model.snapshot import Snapshot
from oht50d.services.local_views import Tree


def view_stats(sight: Sight, snapshot: Snapshot, now_ns: int) -> Tree:
    """Everything that `bus stats` tells."""
    trace, wire = sight.trace, snapshot.wire
    return {
        "port": wire.port,
        "is_open": wire.is_open,
        "is_listen_only": wire.is_listen_only,
        "is_simulated": wire.is_simulated,
        "transactions": wire.transactions,
        "early_frames": wire.early_frames,
        "unexpected_bytes": wire.unexpected_bytes,
        "headroom": None if wire.plan is None or wire.is_listen_only else round(wire.plan.headroom, 4),
        "given_way": [] if wire.plan is None else list(wire.plan.given_way),
        "refusal": None if wire.plan is None else wire.plan.refusal or None,
        "window_s": WINDOW_S,
        "recent": _shares(sight.stats.time.recent(now_ns)),
        "since_start": _shares(sight.stats.time.since_start(now_ns)),
        "modules": [_unit(sight, unit, stats) for unit, stats in sorted(sight.stats.units.items())],
        "trace": {
            "frames": trace.next_number - trace.first_number,
            "dropped": trace.first_number,
            "bytes": trace.kept_bytes,
            "max_frames": MAX_FRAMES,
            "max_bytes": MAX_BYTES,
        },
        "errands": {outcome.value: count for outcome, count in sight.errands.counts.items()}
        | {"waiting": sight.errands.waiting},
    }


def view_raw_frame(frame: TracedFrame) -> Tree:
    """One frame as it was on the line."""
    return {
        "n": frame.number,
        "at_ns": frame.at_ns,
        "way": frame.way.name.lower(),
        "note": frame.note.name.lower(),
        "purpose": None if frame.purpose is None else frame.purpose.value,
        "hex": frame.octets.hex(),
    }


def view_frame(decoded: DecodedFrame, maps: Mapping[int, ModuleMap]) -> Tree:
    """One frame with everything that is known about it."""
    module = None if decoded.unit is None else maps.get(decoded.unit)
    return view_raw_frame(decoded.frame) | {
        "unit": decoded.unit,
        "module": None if module is None else module.kind.value,
        "function": decoded.function,
        "words": decoded.words,
        "crc": None if decoded.is_crc_good is None else "good" if decoded.is_crc_good else "WRONG",
        "gap_ms": _ms(decoded.gap_ns),
        "latency_ms": _ms(decoded.latency_ns),
        "values": [_value(value) for value in decoded.values],
    }


def _value(found: FrameValue) -> Tree:
    spec = found.spec
    return {
        "address": found.address,
        "name": None if spec is None else spec.name,
        "value": finite(found.value) if found.quality is Quality.GOOD else None,
        "unit": "" if spec is None else spec.unit,
        "raw": found.word,
        "quality": None if found.quality is None else found.quality.value,
    }


def _shares(shares: WireShares | None) -> Tree | None:
    if shares is None:
        return None
    return {
        "characters": round(shares.characters, 4),
        "silence": round(shares.silence, 4),
        "waiting": round(shares.waiting, 4),
        "idle": round(shares.idle, 4),
        "dead": round(shares.dead, 4),
        "span_s": round(shares.span_s, 3),
    }


def _unit(sight: Sight, unit: int, stats: UnitStats) -> Tree:
    module, turnaround = sight.maps.get(unit), stats.turnaround
    mean_ns = turnaround.sum_ns / turnaround.replies if turnaround.replies else None
    return {
        "unit": unit,
        "module": None if module is None else module.kind.value,
        "requests": stats.requests,
        "replies": stats.replies,
        "timeouts": stats.timeouts,
        "crc_errors": stats.crc_errors,
        "mismatches": stats.mismatches,
        "abandoned": stats.abandoned,
        "retries": stats.retries,
        "exceptions": {str(code): count for code, count in sorted(stats.exceptions.items())},
        "is_dead": stats.is_dead,
        "turnaround_mean_ms": _ms(mean_ns),
        "turnaround_p99_ms": _ms(sight.p99_ns(unit)),
        "turnaround": {
            "up_to_ms": [bound / 1e6 for bound in BUCKETS_NS],
            "counts": list(turnaround.counts),
        },
    }


def _ms(span_ns: float | None) -> float | None:
    return None if span_ns is None else round(span_ns / 1e6, 3)
