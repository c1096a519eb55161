"""A result as it is committed: the same blocks in a fraction of the bytes, for files of at most 60 kB.

``compact`` rounds numbers, turns runs and their validation curves into tables, and writes recipes as what differs from the baseline's.
``restored`` undoes all but the rounding and the thinning of curves. Whatever reads a result reads both forms (see
:func:`windtunnel.study.results.read_result`), so nothing else knows of this one. ``python -m windtunnel.study.compact FILE ...`` rewrites
result files in place.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MARK = "compact"  # the key that says which form a file has
DIGITS = 7
ROUGH = {"seconds": 4, "cpu_seconds": 4}  # a timing repeats no better than this
POINTS, POINT_DIGITS = 12, 5  # of a validation curve, which is only drawn
RECIPE, PHASE = "baseline", "phase of the baseline"


def compact(result: Mapping[str, Any]) -> dict[str, Any]:
    """The compact form of a study's or a paper's ``result``; its blocks keep their names."""
    found = {MARK: True, **rounded(result)}
    base = mapping(result.get("recipes")).get("baseline")
    if base and "phases" in base:  # an experiment has none
        recipes = {name: like(recipe, base) for name, recipe in result["recipes"].items() if name != "baseline"}
        found["recipes"] = {"baseline": base, **recipes}
    found["runs"] = table([{**run, **curve(run, str(found["study"]["metric"]))} for run in found["runs"]])
    return found


def restored(found: Mapping[str, Any]) -> dict[str, Any]:
    """A result as it was before :func:`compact`, or as it is where it has another form."""
    if not found.get(MARK):
        return dict(found)
    result = {name: value for name, value in found.items() if name != MARK}
    base = mapping(result.get("recipes")).get("baseline")
    if base and "phases" in base:  # an experiment has none
        result["recipes"] = {name: unlike(recipe, base) for name, recipe in result["recipes"].items()}
    result["runs"] = rows(result["runs"])
    for run in result["runs"]:
        if "validation" in run:
            run["validation"] = rows(run["validation"])
    return result


def text(found: Mapping[str, Any]) -> str:
    """``found`` as JSON with a line for each block, and for each run, arm and recipe within one: small, and a commit shows what changed."""
    blocks = []
    for name, value in found.items():
        if name in ("arms", "recipes") and value:
            inner = ",\n".join(f"{one_line(key)}:{one_line(entry)}" for key, entry in value.items())
            written = f"{{\n{inner}\n}}"
        elif name == "runs" and isinstance(value, Mapping):
            lines = ",\n".join(map(one_line, value["rows"]))
            written = f'{{"columns":{one_line(value["columns"])},"rows":[\n{lines}\n]}}'
        else:
            written = one_line(value)
        blocks.append(f"{one_line(name)}:{written}")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def one_line(value: Any) -> str:
    """``value`` as JSON without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def mapping(value: Any) -> Mapping[str, Any]:
    """``value`` if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


# Numbers ------------------------------------------------------------------------------------------------------------------------


def rounded(value: Any, digits: int = DIGITS) -> Any:
    """``value`` with every number that is not whole to ``digits`` significant figures. Recipes stay exact: they can be flown again."""
    if isinstance(value, float):
        return value if value.is_integer() else float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {key: entry if key == "recipes" else rounded(entry, ROUGH.get(key, digits)) for key, entry in value.items()}
    return [rounded(entry, digits) for entry in value] if isinstance(value, (list, tuple)) else value


def curve(run: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The validation curve of ``run`` as a table: ``metric`` alone, at most ``POINTS`` points, first and last among them."""
    if "validation" not in run:
        return {}
    points = [
        {"step": point.get("step"), "flops": point.get("flops"), "numbers": {metric: mapping(point.get("numbers")).get(metric)}}
        for point in run["validation"]
    ]
    if len(points) > POINTS:
        points = [points[round(place * (len(points) - 1) / (POINTS - 1))] for place in range(POINTS)]
    return {"validation": table(rounded(points, POINT_DIGITS))}


# Tables -------------------------------------------------------------------------------------------------------------------------


def table(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Records as columns, named by the path of the value, and rows. A value that a record lacks is an empty mapping."""
    flat = [dict(leaves(record)) for record in records]
    columns = list(dict.fromkeys(path for record in flat for path in record))
    return {"columns": columns, "rows": [[record.get(path, {}) for path in columns] for record in flat]}


def leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested mappings with their paths. Tables are values."""
    for key, entry in value.items():
        path = prefix + str(key).replace("~", "~0").replace("/", "~1")
        if isinstance(entry, Mapping) and entry.keys() != {"columns", "rows"}:
            yield from leaves(entry, f"{path}/")
        else:
            yield path, entry


def rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The records of a table. A mapping that some record has is there in all, empty where nothing was in it."""
    blocks = {keys(path)[0] for path in found["columns"] if "/" in path}
    records = []
    for row in found["rows"]:
        record: dict[str, Any] = {}
        for path, value in zip(found["columns"], row, strict=True):
            *above, last = keys(path)
            if value == {}:
                continue
            place = record
            for key in above:
                place = place.setdefault(key, {})
            place[last] = value
        records.append(record)
    return [{**{name: {} for name in blocks}, **record} for record in records]


def keys(path: str) -> list[str]:
    """The keys of a path."""
    return [key.replace("~1", "/").replace("~0", "~") for key in path.split("/")]


# Recipes ------------------------------------------------------------------------------------------------------------------------


def like(value: Any, base: Mapping[str, Any]) -> Any:
    """``value`` with every recipe in it, and every phase of one, written as what differs from ``base`` and from its first phase."""
    if isinstance(value, Mapping):
        for name, model in ((RECIPE, base), (PHASE, base["phases"][0])):
            if value.keys() == model.keys():
                return {"as": name, "but": dict(changes(value, model, base))}
        return {key: like(entry, base) for key, entry in value.items()}
    return [like(entry, base) for entry in value] if isinstance(value, list) else value


def changes(value: Any, model: Any, base: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What differs from ``model``, by path. Mappings with the same keys are compared key by key; parts and lists are replaced whole."""
    for key, entry in value.items():
        path, other = prefix + str(key).replace("~", "~0").replace("/", "~1"), model[key]
        if isinstance(entry, Mapping) and isinstance(other, Mapping) and entry.keys() == other.keys():
            yield from changes(entry, other, base, f"{path}/")
        elif entry != other or type(entry) is not type(other):
            yield path, like(entry, base)


def unlike(value: Any, base: Mapping[str, Any]) -> Any:
    """Undo :func:`like`."""
    if isinstance(value, list):
        return [unlike(entry, base) for entry in value]
    if not isinstance(value, Mapping):
        return value
    if value.keys() != {"as", "but"}:
        return {key: unlike(entry, base) for key, entry in value.items()}
    found = json.loads(json.dumps(base if value["as"] == RECIPE else base["phases"][0]))
    for path, entry in value["but"].items():
        *above, last = keys(path)
        place = found
        for key in above:
            place = place[key]
        place[last] = unlike(entry, base)
    return found


if __name__ == "__main__":
    for name in sys.argv[1:]:
        file = Path(name)
        content = restored(json.loads(file.read_text(encoding="utf-8")))
        file.write_text(text(compact(content)), encoding="utf-8")
        print(f"{file}: {file.stat().st_size} bytes")
