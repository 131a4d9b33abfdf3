"""How `oht50ctl bus` shows statistics and frames: aligned, with units, unknown as `unknown` (pure)."""

from collections.abc import Mapping, Sequence

from oht50d.app.ctl_tables import UNKNOWN, table, told

Tree = Mapping[str, object]

SHORT_VALUES = 6
PLAIN_UNITS = frozenset(
    {"bool", "enum", "ascii2", "version", "bitmap", "code", "count", "counts", "cmd", "addr", "norm"}
)
"""What a map calls a unit and people do not."""
_ARROWS = {"sent": "->", "received": "<-", "overheard": "..", "line": "--"}
_SHARES = ("characters", "silence", "waiting", "idle", "dead")


def stats_text(tree: Tree) -> str:
    """The answer to `bus stats`."""
    lines = [
        ("bus", _bus_words(tree)),
        ("exchanges", told(tree.get("transactions"))),
        ("early frames", told(tree.get("early_frames"))),
        ("unexpected", told(tree.get("unexpected_bytes"), "bytes")),
        ("headroom", _headroom(tree)),
        *(("given way", str(words)) for words in _list(tree, "given_way")),
        *((("motion", f"REFUSED: {tree.get('refusal')}"),) if tree.get("refusal") else ()),
        (f"last {tree.get('window_s')} s", _shares(tree.get("recent"))),
        ("since start", _shares(tree.get("since_start"))),
        ("trace", _trace_words(_tree(tree, "trace"))),
        ("registers", ", ".join(f"{word} {count}" for word, count in _tree(tree, "errands").items())),
    ]
    head = "\n".join(f"{name:<13} {text}" for name, text in lines)
    modules = [one for one in _list(tree, "modules") if isinstance(one, dict)]
    return "\n\n".join((head, _modules(modules), _turnarounds(modules)))


def frame_line(frame: Tree, utc: str, *, is_long: bool) -> str:
    """One frame on one line: when, gap, way, who, what, values, verdict."""
    unit, module = frame.get("unit"), frame.get("module")
    who = "" if not isinstance(unit, int) else f"{unit:#04x} {module or ''}".strip()
    is_reply = frame.get("latency_ms") is not None
    span = _span("+", frame.get("latency_ms")) if is_reply else _span("", frame.get("gap_ms"))
    parts = [
        f"#{frame.get('n')}",
        utc[11:-1],
        f"{span:>11}",
        _ARROWS.get(str(frame.get("way")), "??"),
        f"{who:<11}",
        f"{frame.get('purpose') or '':<8}",
        _verdict(frame) + str(frame.get("words")),
    ]
    values = [_value(one) for one in _list(frame, "values") if isinstance(one, dict)]
    shown = values if is_long else values[:SHORT_VALUES]
    more = len(values) - len(shown)
    line = "  ".join(parts) + (": " if values else "") + ", ".join(shown) + (f", {more} more" if more else "")
    return f"{line}\n      {_spaced(str(frame.get('hex')))}" if is_long and frame.get("hex") else line.rstrip()


def _verdict(frame: Tree) -> str:
    """What is not as it should be, in front."""
    note = str(frame.get("note"))
    words = [] if note in {"sent", "valid", "opened", "request", "reply"} else [note.upper()]
    words += ["CRC WRONG"] if frame.get("crc") == "WRONG" and note != "crc" else []
    return f"[{', '.join(words)}] " if words else ""


def _value(value: Tree) -> str:
    raw, address, quality = value.get("raw"), value.get("address"), value.get("quality")
    name = value.get("name") or (f"{address:#06x}" if isinstance(address, int) else UNKNOWN)
    if quality is None:
        return f"{name} {raw:#06x}" if isinstance(raw, int) else f"{name} {UNKNOWN}"
    unit = value.get("unit")
    shown = told(value.get("value"), "" if unit in PLAIN_UNITS else unit or "")
    return f"{name} {shown}" if quality == "good" else f"{name} {raw} ({quality})"


def _bus_words(tree: Tree) -> str:
    state = "LISTEN-ONLY" if tree.get("is_listen_only") else "open" if tree.get("is_open") else "CLOSED"
    return f"{state} on {tree.get('port')}{' SIMULATED' if tree.get('is_simulated') else ''}"


def _headroom(tree: Tree) -> str:
    return "none: nothing is polled" if tree.get("is_listen_only") else _percent(tree.get("headroom"))


def _trace_words(trace: Tree) -> str:
    size = trace.get("bytes")
    kept = f"{size / 1024:.0f} KiB" if isinstance(size, int) else UNKNOWN
    return f"{trace.get('frames')} frames ({kept}) kept, {trace.get('dropped')} older ones fell out"


def _modules(modules: Sequence[Tree]) -> str:
    header = ("ADDRESS", "MODULE", "REQUESTS", "REPLIES", "TIMEOUTS", "CRC", "MISMATCH", "ABANDONED", "RETRIES",
              "EXCEPTIONS", "STATE")  # fmt: skip
    keys = ("requests", "replies", "timeouts", "crc_errors", "mismatches", "abandoned", "retries")
    rows = [
        [
            _address(module),
            str(module.get("module") or "-"),
            *(told(module.get(key)) for key in keys),
            ", ".join(f"{code}: {count}" for code, count in _tree(module, "exceptions").items()) or "0",
            _state(module),
        ]
        for module in modules
    ]
    return table(header, rows)


def _state(module: Tree) -> str:
    """An address that no map binds and that never answered is most likely nobody's: no module is dead there."""
    has_answered = bool(module.get("replies") or _tree(module, "exceptions"))
    if module.get("is_dead") and (has_answered or module.get("module")):
        return "DEAD"
    return "answers" if has_answered else "never answered"


def _turnarounds(modules: Sequence[Tree]) -> str:
    """Only buckets that hold something; the turnaround is without characters and silences."""
    bounds = next(iter([_list(_tree(module, "turnaround"), "up_to_ms") for module in modules]), [])
    counts = [_list(_tree(module, "turnaround"), "counts") for module in modules]
    used = [index for index in range(len(bounds) + 1) if any(index < len(row) and row[index] for row in counts)]
    names = [f"<={bound:g} ms" if isinstance(bound, int | float) else "" for bound in bounds]
    names.append(f">{bounds[-1]:g} ms" if bounds and isinstance(bounds[-1], int | float) else "")
    rows = [
        [
            _address(module),
            told(module.get("turnaround_mean_ms"), "ms"),
            told(module.get("turnaround_p99_ms"), "ms"),
            *(told(row[index]) for index in used),
        ]
        for module, row in zip(modules, counts, strict=True)
    ]
    return table(("TURNAROUND", "MEAN", "P99", *(names[index] for index in used)), rows)


def _address(module: Tree) -> str:
    unit = module.get("unit")
    return f"{unit:#04x}" if isinstance(unit, int) else UNKNOWN


def _shares(found: object) -> str:
    if not isinstance(found, dict):
        return UNKNOWN
    return ", ".join(f"{name} {_percent(found.get(name))}" for name in _SHARES)


def _percent(share: object) -> str:
    return f"{share * 100:.1f} %" if isinstance(share, int | float) else UNKNOWN


def _span(sign: str, span_ms: object) -> str:
    return f"{sign}{span_ms:.2f} ms" if isinstance(span_ms, int | float) else ""


def _spaced(octets: str) -> str:
    return " ".join(octets[place : place + 2] for place in range(0, len(octets), 2))


def _tree(tree: Tree, key: str) -> Tree:
    found = tree.get(key)
    return found if isinstance(found, dict) else {}


def _list(tree: Tree, key: str) -> list[object]:
    found = tree.get(key)
    return found if isinstance(found, list) else []
