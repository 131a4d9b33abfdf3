"""Modules, their registers and the wire as JSON values (API.md, section 8; no state)."""

from oht50d.model.modules import TYPE_NAMES, FoundModule
from oht50d.model.registers import ModuleMap, RegisterSpec
from oht50d.model.snapshot import ModuleStatus, PlanStatus, Snapshot
from oht50d.web.present import Json, age_ms, measured


def modules_view(snapshot: Snapshot, now_ns: int) -> Json:
    """Every bound module, who was found where none is bound, and the field bus that joins them."""
    wire = snapshot.wire
    found = () if snapshot.discovery is None else snapshot.discovery.found
    return {
        "modules": [module_view(module, now_ns) for module in snapshot.modules],
        "found": [found_view(one, now_ns) for one in found],
        "bus": {
            "is_open": wire.is_open,
            "is_listen_only": wire.is_listen_only,
            "is_listening": wire.is_listening,
            "port": wire.port,
            "device": wire.device or None,
            "transport": wire.transport,
            "cause": wire.cause,
            "remedy": wire.remedy,
            "is_simulated": wire.is_simulated,
            "transactions": wire.transactions,
            "early_frames": wire.early_frames,
            "unexpected_bytes": wire.unexpected_bytes,
            "plan": _plan_view(wire.plan),
            "age_ms": age_ms(wire.last_valid_ns, now_ns),
            "is_scanning": wire.is_scanning,
        },
        "age_ms": age_ms(snapshot.taken_ns, now_ns),
    }


def _plan_view(plan: PlanStatus | None) -> Json | None:
    if plan is None:
        return None
    return {"headroom": round(plan.headroom, 3), "given_way": list(plan.given_way), "refusal": plan.refusal or None}


def module_view(module: ModuleStatus, now_ns: int) -> Json:
    """One module; `last_seen_ms` is the age of its last valid reply, null if there was none."""
    counters = module.counters
    return {
        "id": module.kind.value,
        "address": f"{module.address:#04x}",
        "addr": module.address,
        "type": module.kind.value,
        "name": module.title,
        "tag": module.tag,
        "status": "online" if module.is_online else "offline",
        "is_online": module.is_online,
        "is_identified": module.is_identified,
        "is_mandatory": module.is_mandatory,
        "last_seen_ms": age_ms(module.last_valid_ns, now_ns),
        "serial": module.serial,
        "firmware": module.firmware,
        "problem": module.problem,
        "trust": module.trust.trust.value,
        "accepted_serial": None if module.trust.record is None else module.trust.record.serial,
        "counters": {
            "requests": counters.requests,
            "replies": counters.replies,
            "timeouts": counters.timeouts,
            "noise": counters.noise,
            "exceptions": counters.exceptions,
        },
    }


def found_view(found: FoundModule, now_ns: int) -> Json:
    """Somebody who answers where no map is bound: read only, whatever it is."""
    return {
        "address": f"{found.address:#04x}",
        "addr": found.address,
        "state": found.state.value,
        "type_code": found.type_code,
        "name": None if found.type_code is None else TYPE_NAMES.get(found.type_code),
        "tag": found.tag,
        "serial": found.serial,
        "firmware": found.firmware,
        "last_seen_ms": age_ms(found.seen_ns, now_ns),
        "problem": found.problem,
    }


def registers_view(module: ModuleStatus, module_map: ModuleMap | None, now_ns: int) -> Json:
    """Every readable register of the module; without a reading it has value null, quality `unknown` or `refused`."""
    specs = module_map.registers if module_map is not None else ()
    return {
        **module_view(module, now_ns),
        "registers": [_register_view(spec, module, now_ns) for spec in specs if spec.is_readable],
    }


def _register_view(spec: RegisterSpec, module: ModuleStatus, now_ns: int) -> Json:
    reading = module.readings.get(spec.name)
    refused = {"quality": "refused"} if spec.name in module.refused else {}
    return {
        "address": f"{spec.address:#06x}",
        "name": spec.name,
        **measured(reading, now_ns),
        **refused,
        "unit": spec.unit,
        "raw": None if reading is None else reading.raw,
        "access": spec.access.value,
        "mode": {"ro": "R", "rw": "RW"}.get(spec.access.value, "W"),
        "role": spec.role,
        "is_safety_critical": spec.is_safety_critical,
        "description": spec.description,
    }
