"""The snapshot as robot status and telemetry answers (API.md, sections 4 and 5; DOMAIN 10.2; no state)."""

from oht50d.core.safety_word import evaluate_safety_word
from oht50d.model.registers import ModuleKind
from oht50d.model.snapshot import Snapshot
from oht50d.web.present import STATUS_NAMES, Json, age_ms, causes_view, fresh_value, measured, stop_view

_PROXIMITY = ("distance_1", "distance_2", "distance_3", "distance_4")


def status_view(snapshot: Snapshot, now_ns: int) -> Json:
    """The answer to /robot/status: what the robot does, and in `why` every reason why it does not move."""
    authority = snapshot.authority
    online = sum(module.is_online for module in snapshot.modules)
    return {
        "robot_id": snapshot.robot_id,
        "status": STATUS_NAMES.get(snapshot.state, snapshot.state.name.lower()),
        "state": snapshot.state.name,
        "mode": "manual",
        "is_simulated": snapshot.is_simulated,
        "is_latched": snapshot.is_latched,
        "is_commissioned": snapshot.is_commissioned,
        "is_jogging": snapshot.jog_nonce is not None,
        "position": {"x": measured(snapshot.role("position.x"), now_ns)},
        "position_mm": fresh_value(snapshot.role("position.x"), now_ns),
        "velocity_mm_s": fresh_value(snapshot.role("velocity.x"), now_ns),
        "speed_limit_mm_s": snapshot.speed_limit_mm_s,
        "battery": battery_view(snapshot, now_ns),
        "battery_level": fresh_value(snapshot.role("battery.soc"), now_ns),
        "temperature": fresh_value(snapshot.role("battery.temperature"), now_ns),
        "safety_status": evaluate_safety_word(snapshot, now_ns).value,
        "why": why_view(snapshot, now_ns),
        "stop": stop_view(snapshot.stop, now_ns),
        "authority": {
            "boot_id": authority.boot_id,
            "epoch": authority.epoch,
            "holder": authority.holder,
            "since_ms": age_ms(authority.since_ns, now_ns),
        },
        "modules_online": online,
        "modules_total": len(snapshot.modules),
        "last_update": snapshot.taken_utc,
        "age_ms": age_ms(snapshot.taken_ns, now_ns),
        "version": snapshot.version,
    }


def why_view(snapshot: Snapshot, now_ns: int) -> Json:
    """Why it cannot move, in one answer: a sentence, then latched causes, stop causes and inhibits with remedies."""
    latched = causes_view(snapshot.latched_causes, now_ns)
    stopping = causes_view(snapshot.decision.stop_causes, now_ns)
    inhibits = causes_view(snapshot.decision.inhibits, now_ns)
    permit = snapshot.decision.permit
    can_move = permit is not None and permit.is_valid(now_ns)
    return {
        "can_move": can_move,
        "sentence": _sentence(can_move, latched, stopping, inhibits),
        "latched": latched,
        "stopping": stopping,
        "inhibits": inhibits,
    }


def _sentence(can_move: bool, latched: list[Json], stopping: list[Json], inhibits: list[Json]) -> str:
    if can_move:
        return "It has permission to move."
    first = next(iter([*stopping, *latched, *inhibits]), None)
    if first is None:
        return "It has no permission to move, and no cause is known."
    lead = "It stops" if stopping else "It is locked" if latched else "It stands"
    others = len({str(view["code"]) for view in [*stopping, *latched, *inhibits]}) - 1
    tail = "" if others == 0 else " There is 1 more cause." if others == 1 else f" There are {others} more causes."
    return f"{lead}: {_uncapitalised(str(first['title']))}.{tail}"


def _uncapitalised(title: str) -> str:
    """The title within a sentence; a word in capitals, such as STOP, stays as it is."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def battery_view(snapshot: Snapshot, now_ns: int) -> Json:
    """Voltage, current, state of charge and temperature, each with quality and age."""
    names = ("soc", "voltage", "current", "temperature")
    return {name: measured(snapshot.role(f"battery.{name}"), now_ns) for name in names}


def telemetry_view(snapshot: Snapshot, now_ns: int) -> Json:
    """The answer to /telemetry/current; units stand beside every value."""

    def dock(name: str) -> Json:
        return measured(snapshot.reading(ModuleKind.DOCK, name), now_ns)

    def axes(stem: str) -> Json:
        return {axis: dock(f"{stem}_{axis}") for axis in ("x", "y", "z")}

    battery = battery_view(snapshot, now_ns)
    return {
        "robot_telemetry": {
            "position": {**axes("position"), "x": measured(snapshot.role("position.x"), now_ns)},
            "velocity": {**axes("velocity"), "x": measured(snapshot.role("velocity.x"), now_ns)},
            "acceleration": axes("acceleration"),
            "orientation": {name: dock(f"orientation_{name}") for name in ("roll", "pitch", "yaw")},
            "drives": [measured(snapshot.role(f"drive.{number}.actual_speed"), now_ns) for number in (1, 2)],
        },
        "system_telemetry": {
            "battery_voltage": battery["voltage"],
            "battery_current": battery["current"],
            "battery_level": battery["soc"],
            "temperature": battery["temperature"],
        },
        "sensor_telemetry": {
            "proximity_sensors": [measured(snapshot.reading(ModuleKind.SAFETY, name), now_ns) for name in _PROXIMITY],
            "dock_status": measured(snapshot.role("docking.status"), now_ns),
        },
        "timestamp": snapshot.taken_utc,
        "age_ms": age_ms(snapshot.taken_ns, now_ns),
        "version": snapshot.version,
    }
