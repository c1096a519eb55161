"""A synthetic result of a study, as ``windtunnel.study`` writes it, for the tests of the report."""

from __future__ import annotations

import math
import random
from typing import Any

MEANS = {"g-stack": (-0.312, 0.05), "wsd": (-0.021, 0.06), "qk-norm": (0.004, 0.008), "ul2": (0.142, 0.04)}
VERDICTS = {"g-stack": "helps", "wsd": "undecided", "qk-norm": "no difference", "ul2": "hurts", "muon": "failed"}
TRACEBACK = """Traceback (most recent call last):
  File "windtunnel/train/run.py", line 212, in fly
    outcome = loop(model, batches, budget)
  File "windtunnel/train/loop.py", line 97, in loop
    raise FloatingPointError(f"the loss is {value} at step {step}: a learning rate of {rate} is too high for this model")
FloatingPointError: the loss is nan at step 14: a learning rate of 0.3 is too high for this model"""
PROMPTS = [
    ("code", "def read_lines(path):\n    with open(path) as file:\n", "        return [line.rstrip() for line in file]\n"),
    (
        "prose",
        "Return the greatest common divisor of the specified integer arguments. If any of the",
        " arguments is nonzero, then the returned value is",
    ),
]


def curve(flops: float, offset: float, seed: int, points: int = 24) -> list[dict[str, Any]]:
    noise = random.Random(f"{flops}{offset}{seed}")
    shift = noise.gauss(0, 0.02)
    rows = []
    for point in range(1, points + 1):
        spent = flops * point / points
        value = 1.15 + 2.4 * (spent / 4e10) ** -0.33 + offset * min(1, point / 8) + shift + noise.gauss(0, 0.008)
        numbers = {"bits_per_byte": value, "bits_per_byte/code": value - 0.2, "bits_per_byte/prose": value + 0.3}
        rows.append({"step": point * 9, "phase": 0, "tokens": 18432 * point, "flops": spent, "seconds": 1.4 * point, "numbers": numbers})
    return rows


def run(arm: str, seed: int, multiple: float, offset: float, *, failed: bool = False, epochs: float = 0.11) -> dict[str, Any]:
    flops = 2e12 * multiple
    validation = [] if failed else curve(flops, offset, seed)
    test = {name: value + 0.03 for name, value in validation[-1]["numbers"].items()} if validation else {}
    return {
        "arm": arm,
        "multiple": multiple,
        "seed": seed,
        "key": f"{abs(hash((arm, seed, multiple))):020x}"[:20],
        "folder": f"runs/{arm}-{multiple:g}-{seed}",
        "status": "failed" if failed else "finished",
        "test": test,
        "totals": {
            "steps": 216,
            "tokens": 442368 * multiple,
            "flops": flops,
            "effective_flops": flops,
            "seconds": 34.0 * multiple,
            "peak_memory_bytes": 734003200,
            "epochs": {"code": epochs, "prose": 2 * epochs},
        },
        "validation": validation,
        "traceback": TRACEBACK if failed else None,
    }


def example(seeds: int = 5) -> dict[str, Any]:
    """A finished study of five arms: one that helps beyond the curve, one undecided, one without effect, one that hurts, one failed."""
    runs = [run("baseline", seed, multiple, 0.0) for multiple in (0.5, 1.0, 2.0) for seed in range(seeds)]
    base = sum(entry["test"]["bits_per_byte"] for entry in runs if entry["multiple"] == 1.0) / seeds
    points = []
    for multiple in (0.5, 1.0, 2.0):
        values = [entry["test"]["bits_per_byte"] for entry in runs if entry["multiple"] == multiple]
        middle = sum(values) / seeds
        points.append({"multiple": multiple, "flops": 2e12 * multiple, "mean": middle, "low": middle - 0.03, "high": middle + 0.03})
    arms: dict[str, Any] = {}
    gains = {
        "g-stack": (2.0, 1.8, 2.0, True),
        "wsd": (1.06, 0.9, 1.3, False),
        "qk-norm": (0.99, 0.97, 1.01, False),
        "ul2": (0.71, 0.62, 0.84, False),
    }
    for name, (difference, half) in MEANS.items():
        repeated = 1.4 if name == "ul2" else 0.11
        runs += [run(name, seed, 1.0, difference, epochs=repeated) for seed in range(seeds)]
        value, low, high, bounded = gains[name]
        sparse = name == "qk-norm"
        arms[name] = {
            "seeds": seeds,
            "test": {
                "mean": base + difference,
                "difference": difference,
                "low": difference - half,
                "high": difference + half,
            },
            "compute_gain": {"value": value, "low": low, "high": high, "bounded": bounded},
            "budget_ratio": 1.0,
            "wall_clock_ratio": {"g-stack": 0.83, "wsd": 1.01, "qk-norm": 1.08, "ul2": 1.22}[name],
            "peak_memory_ratio": {"g-stack": 0.97, "wsd": 1.0, "qk-norm": 1.02, "ul2": 1.31}[name],
            "tokens": 442368,
            "flops": 2e12,
            "effective_flops": 1.4e12 if sparse else 2e12,
            "seconds": 34.0,
            "peak_memory_bytes": 734003200,
            "parameters": 1838464,
            "epochs": {"code": repeated, "prose": 2 * repeated},
            "verdict": VERDICTS[name],
            "required_seeds": 38 if name == "wsd" else None,
            "numbers": {
                f"bits_per_byte/{source}": {
                    "mean": base + difference + shift,
                    "difference": difference * scale,
                    "low": (difference - half) * scale,
                    "high": (difference + half) * scale,
                }
                for source, shift, scale in (("code", -0.2, 1.2), ("prose", 0.3, 0.8))
            },
        }
    runs += [run("muon", seed, 1.0, 0.0, failed=True) for seed in range(seeds)]
    arms["muon"] = {
        "seeds": 0,
        "test": {"mean": None, "difference": None, "low": None, "high": None},
        "compute_gain": None,
        "budget_ratio": None,
        "wall_clock_ratio": None,
        "peak_memory_ratio": None,
        "verdict": "failed",
        "required_seeds": None,
        "numbers": {},
    }
    recipe = {
        "corpus": {"code": {"builtin": {"text": "stdlib"}}, "prose": {"builtin": {"text": "docstrings"}}},
        "budget": {"flops": 2e12},
        "phases": [
            {
                "share": 1.0,
                "model": {"family": "llama", "depth": 8},
                "context": 128,
                "objective": {"next-token": {}},
                "schedule": {"cosine": {"warmup": 0.05}},
            }
        ],
    }
    words = {"baseline": "        for line in file:\n            yield line\n", "g-stack": "        return file.read().splitlines()\n"}
    return {
        "format": 2,
        "study": {
            "name": "first-flight",
            "file": "studies/first-flight.yaml",
            "metric": "bits_per_byte",
            "unit": "bits per byte",
            "better": "lower",
            "budget": {"flops": 2e12},
            "seeds": seeds,
            "confidence": 0.95,
            "margin": 0.02,
            "curve": [0.5, 1, 2],
        },
        "baseline": {"seeds": seeds, "test": {"mean": base, "low": base - 0.03, "high": base + 0.03}, "curve": points},
        "arms": arms,
        "runs": runs,
        "corpus": [
            {"source": "code", "what": "read", "documents": 1790, "bytes": 31_250_000},
            {"source": "code", "what": "skipped: binary file", "documents": 12, "bytes": 88_000},
            {"source": "code", "what": "removed: exact duplicate", "documents": 41, "bytes": 210_000},
            {"source": "code", "what": "removed: near-duplicate of held-out", "documents": 23, "bytes": 190_500},
            {"source": "code", "what": "train", "documents": 1602, "bytes": 28_700_000},
            {"source": "code", "what": "validation", "documents": 36, "bytes": 610_000},
            {"source": "code", "what": "test", "documents": 88, "bytes": 1_539_500},
            {"source": "prose", "what": "read", "documents": 9210, "bytes": 4_120_000},
            {"source": "prose", "what": "removed: exact duplicate", "documents": 1204, "bytes": 300_000},
            {"source": "prose", "what": "train", "documents": 7450, "bytes": 3_550_000},
            {"source": "prose", "what": "validation", "documents": 160, "bytes": 77_000},
            {"source": "prose", "what": "test", "documents": 396, "bytes": 193_000},
        ],
        "stream": {
            "fingerprint": "5f1b8c0d9e7a",
            "vocabulary": 4096,
            "sizes": {"train": {"code": 8_100_000, "prose": 1_050_000}, "test": {"code": 430_000, "prose": 55_000}},
        },
        "recipes": {name: recipe for name in ("baseline", *arms)},
        "samples": {
            name: [
                {"source": source, "prompt": prompt, "continuation": words.get(name, "        pass\n"), "truth": truth}
                for source, prompt, truth in PROMPTS
            ]
            for name in ("baseline", "g-stack", "wsd", "qk-norm", "ul2")
        },
        "versions": {"windtunnel": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "python": "3.11.7"},
        "hardware": {"cpu": "a processor", "cores": 2, "memory_bytes": 24_000_000_000, "device": "cpu"},
        "finished": True,
    }


def awkward() -> dict[str, Any]:
    """What a report must survive: markup in every name and text, numbers that are none, twenty arms, an unfinished study."""
    result = example(3)
    evil = "<script>alert('x')</script>"
    result["study"] |= {
        "name": f'{evil} & "quotes"',
        "metric": "accuracy/überall",
        "unit": "",
        "better": "higher",
        "margin": None,
        "confidence": 0.9,
    }
    result["finished"] = False
    arms = {}
    for index in range(20):
        value = 0.05 * math.sin(index)
        arms[f"arm {index}"] = {
            "seeds": 3,
            "test": {"mean": 0.4 + value, "difference": value, "low": value - 0.03, "high": value + 0.03},
            "compute_gain": {"value": math.nan, "low": -math.inf, "high": math.inf, "bounded": False} if index % 2 else None,
            "wall_clock_ratio": math.inf,
            "verdict": "helps" if value > 0.03 else "hurts" if value < -0.03 else "undecided",
            "required_seeds": math.inf if index % 3 else 10**7,
        }
    arms[evil] = {
        "seeds": 1,
        "test": {"mean": math.nan, "difference": -0.01, "low": math.nan, "high": None},
        "verdict": "undecided",
    }
    arms["a-name-that-is-" + "very-" * 12 + "long|`*_[x](javascript:alert(1))"] = {"verdict": "failed"}
    result["arms"] = arms
    result["baseline"] = {
        "seeds": 3,
        "test": {"mean": 0.4},
        "curve": [{"multiple": 1, "flops": math.nan, "mean": 0.4, "low": None, "high": None}],
    }
    result["runs"] = [
        {**run(evil, 0, 1.0, 0.0, failed=True), "traceback": f"Error: {evil}\n" + "x" * 500},
        {
            **run("arm 1", 0, 1.0, 0.0),
            "validation": [
                {"step": 1, "flops": 10.0**exponent, "numbers": {"accuracy/überall": 0.01 * exponent}} for exponent in range(9, 13)
            ],
        },
        {"arm": "baseline", "seed": 0, "status": "running"},
    ]
    result["recipes"] = {evil: {"phases": [{"share": 0.01, "note": evil * 5}] * 100}}
    result["samples"] = {evil: [{"source": evil, "prompt": evil + "\x00\x1b[31m", "continuation": evil * 100, "truth": None}]}
    result["corpus"] = [{"source": evil, "what": f"skipped: {evil}", "documents": None, "bytes": math.nan}]
    result["versions"], result["hardware"] = {evil: evil}, {"gpu": [evil]}
    return result
