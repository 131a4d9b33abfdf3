"""What the local socket shows of registers: JSON trees with unit, quality, age and outcome of each value (no state)."""

from collections.abc import Iterable

from oht50d.codec.registers import decode_register
from oht50d.codec.rtu import encode_request
from oht50d.core.history import finite
from oht50d.core.register_names import Target
from oht50d.core.register_value import allowed_words
from oht50d.model.bus import BitsReply, ReadReply, WriteRegister
from oht50d.model.errands import ErrandResult
from oht50d.model.registers import ModuleMap, Quality, Reading, RegisterSpec
from oht50d.model.snapshot import Snapshot
from oht50d.services.local_views import Tree, age_s


def view_list(modules: Iterable[ModuleMap], snapshot: Snapshot, now_ns: int) -> Tree:
    """Every register of some modules with what is known of it; what was never read has no value and no age."""
    readings = {module.address: module.readings for module in snapshot.modules}
    return {
        "registers": [
            _listed(module, spec, readings.get(module.address, {}).get(spec.name), now_ns)
            for module in modules
            for spec in module.registers
        ]
    }


def view_polled(target: Target, snapshot: Snapshot, now_ns: int, max_age_s: float) -> Tree | None:
    """A single register out of the snapshot, if it was polled within `max_age_s`; never for 0."""
    reading = _known(target, snapshot)
    if max_age_s <= 0 or reading is None or target.count != 1 or now_ns - reading.received_ns > max_age_s * 1e9:
        return None
    (spec,) = target.specs
    assert spec is not None
    return {
        **_place(target),
        "outcome": "read",
        "reason": "",
        "is_polled": True,
        "attempts": 0,
        "values": [
            _valued(spec, target.address, reading.raw, age_s(now_ns, reading.received_ns), reading.quality)
        ],
    }  # fmt: skip


def view_read(target: Target, result: ErrandResult, snapshot: Snapshot, now_ns: int) -> Tree:
    """What a read brought: one value an address, and the number that a pair forms."""
    words = _words(result)
    age = age_s(now_ns, result.received_ns)
    values = [
        _valued(spec, target.address + offset, word, age, _quality(target, spec, word, snapshot))
        for offset, (spec, word) in enumerate(zip(target.specs, words, strict=False))
    ]
    tree: Tree = {
        **_place(target),
        "outcome": result.outcome.value,
        "reason": result.reason,
        "is_polled": False,
        "attempts": result.attempts,
        "values": values,
    }
    if target.pair is not None and len(words) == 2:
        tree["number"] = words[1] << 16 | words[0]
    return tree


def view_write(
    target: Target, spec: RegisterSpec, word: int, result: ErrandResult | None, snapshot: Snapshot, now_ns: int
) -> Tree:
    """What a write came to; without a result it is a dry run, and what is there now is what was polled last."""
    known = _known(target, snapshot)
    before = (None if known is None else known.raw) if result is None else result.before
    tree: Tree = {
        **_place(target),
        "register": spec.name,
        "is_dry_run": result is None,
        "wanted": _worded(spec, word),
        "before": _worded(spec, before),
        "frame": encode_request(WriteRegister(target.unit, target.address, word)).hex(" "),
        "takes": allowed_words(spec),
    }
    if result is None:
        return tree | {
            "outcome": "dry_run",
            "before_age_s": None if known is None else age_s(now_ns, known.received_ns),
        }
    return tree | {
        "outcome": result.outcome.value,
        "reason": result.reason,
        "after": _worded(spec, result.after),
        "was_sent": result.was_sent,
        "is_echoed": result.is_echoed,
    }


def _words(result: ErrandResult) -> tuple[int, ...]:
    """Registers as they are, single bits as 0 and 1."""
    reply = result.reply
    if isinstance(reply, BitsReply):
        return tuple(map(int, reply.bits))
    return reply.words if isinstance(reply, ReadReply) else ()


def _listed(module: ModuleMap, spec: RegisterSpec, reading: Reading | None, now_ns: int) -> Tree:
    return {
        "module": module.kind.value,
        "unit": module.address,
        "address": spec.address,
        "name": f"{module.kind.value}.{spec.name}",
        "role": spec.role,
        "access": spec.access.value,
        "is_motion": spec.is_motion,
        "poll": None if spec.poll is None else spec.poll.value,
        "takes": allowed_words(spec) if spec.is_writable else None,
        "description": spec.description,
        **(
            {"value": None, "raw": None, "quality": None, "age_s": None}
            if reading is None
            else _worded(spec, reading.raw, reading.quality) | {"age_s": age_s(now_ns, reading.received_ns)}
        ),
        "unit_of_value": spec.unit,
    }


def _place(target: Target) -> Tree:
    return {
        "name": target.label,
        "unit": target.unit,
        "address": target.address,
        "count": target.count,
        "space": target.space.value,
    }


def _valued(spec: RegisterSpec | None, address: int, word: int, age: float | None, quality: Quality | None) -> Tree:
    if spec is None:
        return {"address": address, "name": None, "value": None, "raw": word, "unit": "", "quality": None, "age_s": age}
    return {
        "address": address, "name": spec.name, **_worded(spec, word, quality), "unit": spec.unit, "age_s": age,
    }  # fmt: skip


def _worded(spec: RegisterSpec, word: int | None, quality: Quality | None = None) -> Tree:
    """A word as value, raw word and quality; the value is None when its quality is not good."""
    if word is None:
        return {"value": None, "raw": None, "quality": None}
    value, found = decode_register(spec, word)
    quality = quality or found
    return {"value": finite(value) if quality is Quality.GOOD else None, "raw": word, "quality": quality.value}


def _quality(target: Target, spec: RegisterSpec | None, word: int, snapshot: Snapshot) -> Quality | None:
    """STUCK is known from the polls only: one reading does not show it."""
    known = None if spec is None else _reading(target.unit, spec.name, snapshot)
    return Quality.STUCK if known is not None and known.quality is Quality.STUCK and known.raw == word else None


def _known(target: Target, snapshot: Snapshot) -> Reading | None:
    spec = target.specs[0]
    return None if spec is None or target.pair is not None else _reading(target.unit, spec.name, snapshot)


def _reading(unit: int, name: str, snapshot: Snapshot) -> Reading | None:
    for module in snapshot.modules:
        if module.address == unit:
            return module.readings.get(name)
    return None
