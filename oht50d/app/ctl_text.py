"""How `oht50ctl` shows an answer: aligned columns, every value with unit and age, unknown as `unknown` (pure)."""

from collections.abc import Callable, Mapping, Sequence

from oht50d.app.ctl_tables import UNKNOWN, Tree, aged, table, told
from oht50d.app.ctl_tables import hexadecimal as _hex
from oht50d.app.ctl_tables import tree_of as _tree
from oht50d.app.ctl_tables import trees_of as _trees


def status_text(tree: Tree) -> str:
    """The answer to `status`."""
    wire, lidar = _tree(tree, "wire"), _tree(tree, "lidar")
    modules = _trees(tree, "modules")
    online = sum(bool(module.get("is_online")) for module in modules)
    permit = "yes" if tree.get("may_move") else "no" + _because(_trees(tree, "stop_causes"), _trees(tree, "inhibits"))
    battery = ", ".join(_reading(reading) for reading in _trees(tree, "battery")) or UNKNOWN
    lines = [
        (
            "robot",
            f"{tree.get('robot_id')}{' SIMULATED' if tree.get('is_simulated') else ''}, {aged(tree.get('age_s'))}",
        ),
        (
            "state",
            str(tree.get("state"))
            + (" LATCHED" if tree.get("is_latched") else "")
            + _because(_trees(tree, "latched_causes")),
        ),
        ("may move", permit),
        ("held by", str(tree.get("holder") or "nobody")),
        ("position", told(tree.get("position_mm"), "mm")),
        ("velocity", f"{told(tree.get('velocity_mm_s'), 'mm/s')}, limit {told(tree.get('speed_limit_mm_s'), 'mm/s')}"),
        ("bus", _link(wire, _bus_state(wire), f"on {_place(wire)}")),
        ("LiDAR", _link(lidar, str(lidar.get("state")), "")),
        ("battery", battery),
        ("modules", f"{online} of {len(modules)} online"),
        ("last stop", _stop(tree.get("stop"))),
    ]
    hints = tree.get("hints")
    lines += [("hint", str(hint)) for hint in (hints if isinstance(hints, list) else ())]
    return "\n".join(f"{name:<10} {text}" for name, text in lines)


def _place(wire: Tree) -> str:
    """The configured name of the bus, and what it stands for where that is something else."""
    port, found = wire.get("port"), wire.get("device")
    return str(port) if found in (None, port) else f"{port} ({found})"


def stop_text(tree: Tree) -> str:
    """The answer to `stop`: how far it got and its four times."""
    outcome = str(tree.get("outcome"))
    is_confirmed = outcome in {"acknowledged", "verified"}
    words = f"STOP {outcome}" if is_confirmed else f"STOP {outcome}: NOT CONFIRMED, press the red button"
    times = ", ".join(
        f"{name.replace('_', ' ')} {told(tree.get(f'{name}_ms'), 'ms')}"
        for name in ("detected", "first_frame", "output_zero", "standstill")
    )
    lines = [f"{words}\n{times}"]
    if tree.get("persisted") is False:
        lines.append("The stop is not yet written to the memory.")
    if tree.get("message"):
        lines.append(str(tree["message"]))
    return "\n".join(lines)


def events_text(tree: Tree) -> str:
    """The answer to `events`, newest first."""
    rows = [
        [str(event.get(key, "")) for key in ("seq", "utc", "severity", "kind", "actor", "message")]
        for event in _trees(tree, "events")
    ]
    return table(("SEQ", "UTC", "SEVERITY", "KIND", "ACTOR", "MESSAGE"), rows)


def registers_text(tree: Tree) -> str:
    """The answer to `registers`."""
    rows = [
        [
            _hex(register.get("address"), 4),
            str(register.get("name")),
            told(register.get("value"), register.get("unit") or ""),
            _hex(register.get("raw"), 4),
            str(register.get("quality")),
            aged(register.get("age_s")),
        ]
        for register in _trees(tree, "registers")
    ]
    title = f"{tree.get('title')} at {_hex(tree.get('address'), 2)}, {'online' if tree.get('is_online') else 'OFFLINE'}"
    return title + "\n" + table(("ADDRESS", "REGISTER", "VALUE", "RAW", "QUALITY", "AGE"), rows)


def user_list_text(tree: Tree) -> str:
    """The answer to `user list`."""
    rows = [
        [str(user.get("username")), str(user.get("role")), "active" if user.get("is_active") else "inactive"]
        for user in _trees(tree, "users")
    ]
    return table(("USER", "ROLE", "STATE"), rows)


def user_add_text(tree: Tree) -> str:
    """The answer to `user add`."""
    return f"added {tree.get('username')} as {tree.get('role')}"


TEXTS: Mapping[str, Callable[[Tree], str]] = {
    "status": status_text,
    "stop": stop_text,
    "events": events_text,
    "registers": registers_text,
    "user_list": user_list_text,
    "user_add": user_add_text,
}


def _because(*lists: Sequence[Tree]) -> str:
    """Each code once: its details as the first list that names it has them, its age the oldest of all."""
    names = []
    for code in dict.fromkeys(str(cause.get("code")) for causes in lists for cause in causes):
        same = [[cause for cause in causes if str(cause.get("code")) == code] for causes in lists]
        told_first = next(filter(None, same))
        details = "; ".join(dict.fromkeys(str(cause["detail"]) for cause in told_first if cause.get("detail")))
        ages = [age for causes in same for cause in causes if isinstance(age := cause.get("since_s"), int | float)]
        names.append(f"{code}{f' ({details})' if details else ''} {aged(max(ages, default=None))}")
    return f": {', '.join(names)}" if names else ""


def _reading(reading: Tree) -> str:
    name = str(reading.get("role")).rpartition(".")[2]
    return f"{name} {told(reading.get('value'), reading.get('unit') or '')} {aged(reading.get('age_s'))}"


def _link(link: Tree, state: str, place: str) -> str:
    words = f"{state} {place}".strip() + f", last heard {aged(link.get('age_s'))}"
    if link.get("cause"):
        words += f": {link.get('cause')}"
    if link.get("remedy"):
        words += f" ({link.get('remedy')})"
    return words + (" SIMULATED" if link.get("is_simulated") else "")


def _bus_state(wire: Tree) -> str:
    if wire.get("is_listening"):
        return "LISTEN-ONLY, nothing is sent,"
    closed = "CLOSED (listen-only)" if wire.get("is_listen_only") else "CLOSED"
    return "open" if wire.get("is_open") else closed


def _stop(found: object) -> str:
    if not isinstance(found, dict):
        return "none since start"
    times = ", ".join(
        f"{name.replace('_', ' ')} {told(found.get(f'{name}_ms'), 'ms')}"
        for name in ("first_frame", "output_zero", "standstill")
    )
    return f"{found.get('kind')} {found.get('phase')} after {', '.join(map(str, found.get('causes') or ()))}: {times}"
