"""Against a checkout of nanoGPT at its CPU recipe: tokens per CPU second of a step, and CPU seconds to a loss on tiny Shakespeare.

``python benchmarks/nanogpt.py CHECKOUT TEXT [speed] [quality] [pairs=N] [steps=N] [kept=FILE]`` prints JSON. ``CHECKOUT`` is the folder of
https://github.com/karpathy/nanoGPT, which is not changed; ``TEXT`` is tiny Shakespeare, ``data/tinyshakespeare/input.txt`` of
https://github.com/karpathy/char-rnn. Neither is part of the project. Nothing else should run meanwhile; the load is stated.

*speed*: nanoGPT's ``train.py`` with the options its README gives for a CPU (4 layers, 4 heads, width 128, batch 12, 64 positions, not
compiled), and ours with the same sizes but a vocabulary of 512 instead of its 65 characters. Each makes few steps and then ``steps``
more, as whole commands; what the second takes above the first are the CPU seconds of the process tree for these steps, so that beginning
and evaluating cost nothing.

*quality*: CPU seconds from the command to 2.8 bits per UTF-8 byte on the last tenth of the text. nanoGPT's are those of its first
checkpoint that is so good; ours are those of a whole command, from text to exported model, with the recipe :data:`RECIPE`. One function
scores both, over the same bytes, in windows of as many units as each model was trained to read. The last tenth is in nobody's training.
A pair takes some five minutes; each is kept in a file, so that a later call goes on.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pilot import RUN, ratio

PAIRS, STEPS, BEGINNING = 7, 500, 20
GOOD = 2.8  # bits per byte
CPU_OPTIONS = [
    "--device=cpu",
    "--compile=False",
    "--eval_iters=20",
    "--log_interval=1",
    "--block_size=64",
    "--batch_size=12",
    "--n_layer=4",
    "--n_head=4",
    "--n_embd=128",
    "--max_iters=2000",
    "--lr_decay_iters=2000",
    "--dropout=0.0",
]  # README.md, "I only have a macbook"
SAME = {"model": {"layers": 4, "heads": 4, "width": 128}, "batch": 12, "context": 64, "tokenizer": {"vocabulary": 512}}
OURS: dict[str, dict[str, Any]] = {
    "gpt2": {**SAME, "model": {**SAME["model"], "family": "gpt2"}},  # type: ignore[dict-item]
    "llama": SAME,
    "llama, compiled": {**SAME, "compile": "yes"},
}
RECIPE: dict[str, Any] = {
    "section": "S",
    "budget": {"tokens": 300_000},
    "context": 64,
    "batch": 16,
    "schedule": {"wsd": {"warmup": 0.02, "decay": 0.4}},
    "evaluate_every": 1.0,
}
FIRST_SEED = 10  # seed 0 was looked at when the recipe was chosen
PIECE = 4096  # characters of a document of ours
HERE = Path(__file__).resolve().parents[1]
TICKS = os.sysconf("SC_CLK_TCK")


def spent(words: Sequence[object], folder: Path, watch: Callable[[int], None] = lambda pid: None) -> tuple[float, float]:
    """CPU seconds of the process tree of a command in ``folder``, and seconds on the clock; ``watch`` is called with its pid meanwhile."""
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen([str(word) for word in words], env=environment, cwd=folder, stdout=output, stderr=output)
        while process.poll() is None:
            watch(process.pid)
            time.sleep(0.1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit((folder / "output.txt").read_text()[-3000:])
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - began


def theirs(checkout: Path, text: Path, scratch: Path) -> Path:
    """A copy of nanoGPT in ``scratch`` with ``text`` prepared by its own script."""
    copy = scratch / "nanoGPT"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".git"))
    data = copy / "data" / "shakespeare_char"
    shutil.copy(text, data / "input.txt")
    subprocess.run([sys.executable, data / "prepare.py"], cwd=copy, check=True, capture_output=True)
    return copy


def documents(text: Path, scratch: Path) -> Path:
    """All but the last tenth of ``text`` in documents of ours."""
    whole = text.read_text(encoding="utf-8")
    seen = whole[: int(len(whole) * 0.9)]
    file = scratch / "shakespeare.jsonl"
    file.write_text("".join(json.dumps({"text": seen[at : at + PIECE]}) + "\n" for at in range(0, len(seen), PIECE)))
    return file


def train_theirs(copy: Path, options: Sequence[str], watch: Callable[[int], None] = lambda pid: None) -> tuple[float, float]:
    """What nanoGPT's command takes with its CPU options and ``options`` after them."""
    words = [sys.executable, "train.py", "config/train_shakespeare_char.py", *CPU_OPTIONS, *options]
    return spent(words, copy, watch)


def train_ours(recipe: dict[str, Any], corpus: Path, scratch: Path, out: str, seed: int = 0) -> tuple[float, float]:
    """What our command takes with ``recipe``, its model in ``scratch/out``."""
    file = scratch / "recipe.yaml"
    file.write_text(json.dumps({"corpus": {"text": str(corpus)}, **recipe}))
    shutil.rmtree(scratch / out, ignore_errors=True)
    options = ["--out", scratch / out, "--cache", scratch / f"cache-{out}", "--seed", seed, "--threads", 1]
    return spent([sys.executable, "-c", RUN, "train", file, *options], scratch)


def speed(copy: Path, corpus: Path, scratch: Path, pairs: int, steps: int) -> dict[str, Any]:
    """Tokens per CPU second of theirs and of each of ours, in turns, and the ratios."""

    def step_of_theirs(count: int) -> tuple[float, float]:
        return train_theirs(copy, [f"--max_iters={count}", "--eval_interval=1000000", "--eval_iters=1"])

    def step_of_ours(name: str) -> Callable[[int], tuple[float, float]]:
        fixed = {"evaluate_every": 1.0, "evaluation_tokens": 64, "test_tokens": 64}
        return lambda count: train_ours({**OURS[name], **fixed, "budget": {"steps": count}}, corpus, scratch, name.replace(", ", "-"))

    sides = {"nanoGPT": step_of_theirs, **{name: step_of_ours(name) for name in OURS}}
    for side in sides.values():
        side(BEGINNING)  # texts are prepared and code is compiled before anything is counted
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    wall: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(pairs):
        for name, side in sides.items():
            short, long = side(BEGINNING), side(BEGINNING + steps)
            cpu[name].append(long[0] - short[0])
            wall[name].append(long[1] - short[1])
    tokens = steps * SAME["batch"] * SAME["context"]  # type: ignore[operator]
    return {
        "tokens_per_cpu_second": {name: tokens / float(torch.tensor(seconds).median()) for name, seconds in cpu.items()},
        "times_as_fast_in_cpu_seconds": {name: ratio(cpu[name], cpu["nanoGPT"]) for name in OURS},
        "times_as_fast_on_the_clock": {name: ratio(wall[name], wall["nanoGPT"]) for name in OURS},
    }


def bits_per_byte(logits_of: Callable[[torch.Tensor], torch.Tensor], units: torch.Tensor, amount: int, context: int) -> float:
    """Loss of ``units`` [N] in bits over UTF-8 bytes, in windows of ``context``, each predicted from those before it in its window.

    The first unit is predicted by nobody; ``amount`` is the number of bytes of all others. ``logits_of`` maps units [B, T] to logits
    [B, T, vocabulary].
    """
    nats, whole = 0.0, (len(units) - 1) // context * context
    windows = [*zip(units[:whole].view(-1, context).split(64), units[1 : whole + 1].view(-1, context).split(64), strict=True)]
    if whole < len(units) - 1:
        windows.append((units[None, whole:-1], units[None, whole + 1 :]))
    with torch.no_grad():
        for read, wanted in windows:
            nats += float(torch.nn.functional.cross_entropy(logits_of(read).double().flatten(0, 1), wanted.flatten(), reduction="sum"))
    return nats / math.log(2) / amount


def score_theirs(copy: Path, checkpoint: Path, text: str) -> float:
    """Bits per byte of a checkpoint of nanoGPT on ``text``."""
    import pickle

    sys.path.insert(0, str(copy))
    import model as nano  # type: ignore[import-not-found]

    saved = torch.load(checkpoint, map_location="cpu", weights_only=False)
    with contextlib.redirect_stdout(sys.stderr):  # where it says how many parameters it has
        network = nano.GPT(nano.GPTConfig(**saved["model_args"]))
    network.load_state_dict(saved["model"])
    network.eval()
    numbers = pickle.loads((copy / "data" / "shakespeare_char" / "meta.pkl").read_bytes())["stoi"]
    units = torch.tensor([numbers[character] for character in text])
    # Without targets it would make the logits of the last position alone.
    return bits_per_byte(lambda read: network(read, read)[0], units, len(text[1:].encode()), saved["model_args"]["block_size"])


def score_ours(folder: Path, text: str, context: int) -> float:
    """Bits per byte of an exported model on ``text``."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder).eval()
    units = tokenizer(text, add_special_tokens=False)["input_ids"]
    amount = len(text.encode()) - len(tokenizer.decode(units[:1]).encode())
    return bits_per_byte(lambda read: network(read).logits, torch.tensor(units), amount, context)


def cpu_so_far(pid: int) -> float:
    """CPU seconds of a process and its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / TICKS


def quality_of_theirs(copy: Path, text: str) -> dict[str, Any]:
    """The checkpoints of nanoGPT's CPU recipe, each with the CPU seconds after which it was begun and what it scores."""
    written, kept, found = copy / "out-shakespeare-char" / "ckpt.pt", copy / "kept", list[dict[str, Any]]()
    written.unlink(missing_ok=True)
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    seen = 0

    def watch(pid: int) -> None:
        nonlocal seen
        changed = written.stat().st_mtime_ns if written.exists() else 0
        if changed != seen and time.time_ns() - changed > 5e8:  # the next one takes longer than that, so this one is whole
            seen = changed
            shutil.copy(written, kept / f"{len(found)}.pt")
            found.append({"cpu_seconds": cpu_so_far(pid)})

    cpu, wall = train_theirs(copy, [], watch)
    for number, checkpoint in enumerate(found):
        checkpoint["bits_per_byte"] = score_theirs(copy, kept / f"{number}.pt", text)
    good = [checkpoint["cpu_seconds"] for checkpoint in found if checkpoint["bits_per_byte"] <= GOOD]
    return {"cpu_seconds": min(good, default=None), "whole": {"cpu_seconds": cpu, "seconds": wall}, "checkpoints": found}


def quality(copy: Path, corpus: Path, text: Path, scratch: Path, pairs: int, kept: Path) -> dict[str, Any]:
    """CPU seconds to :data:`GOOD` of both, in turns; ours only where the model is so good. Pairs that ``kept`` holds are not run again."""
    whole = text.read_text(encoding="utf-8")
    last = whole[int(len(whole) * 0.9) :]
    runs = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    for pair in range(len(runs), pairs):
        load = os.getloadavg()[0]
        run = quality_of_theirs(copy, last)
        shutil.rmtree(scratch / "cache-quality", ignore_errors=True)  # what preparing the text takes counts
        cpu, wall = train_ours(RECIPE, corpus, scratch, "quality", seed=FIRST_SEED + pair)
        record = json.loads((scratch / "quality" / "record.json").read_text())
        score = score_ours(scratch / "quality" / "model", last, record["recipe"]["phases"][0]["context"])
        run |= {"ours": {"cpu_seconds": cpu, "seconds": wall, "bits_per_byte": score}, "load_before": load}
        with kept.open("a") as file:
            file.write(json.dumps(run) + "\n")
        runs.append(run)
    good = [run for run in runs if run["cpu_seconds"] is not None and run["ours"]["bits_per_byte"] <= GOOD]
    share = ratio([run["cpu_seconds"] for run in good], [run["ours"]["cpu_seconds"] for run in good]) if good else None
    found: dict[str, Any] = {"bits_per_byte": GOOD, "pairs_as_good": len(good), "runs": runs, "recipe": RECIPE}
    return found | ({"share_of_their_cpu_seconds": share} if share else {})


def main(checkout: Path, text: Path, parts: Sequence[str], pairs: int, steps: int, kept: Path) -> dict[str, Any]:
    """Both comparisons, or those of ``parts``."""
    found: dict[str, Any] = {"load_before": os.getloadavg()[0], "pairs": pairs, "steps": steps}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        copy, corpus = theirs(checkout, text, scratch), documents(text, scratch)
        if "speed" in parts:
            found["speed"] = speed(copy, corpus, scratch, pairs, steps)
        if "quality" in parts:
            found["quality"] = quality(copy, corpus, text, scratch, pairs, kept)
    return found | {"load_after": os.getloadavg()[0]}


if __name__ == "__main__":
    options = dict(word.split("=") for word in sys.argv[1:] if "=" in word)
    places = [word for word in sys.argv[1:] if "=" not in word]
    if len(places) < 2:
        raise SystemExit(__doc__)
    kept = Path(options.get("kept", "nanogpt-pairs.jsonl")).resolve()
    pairs, steps = int(options.get("pairs", PAIRS)), int(options.get("steps", STEPS))
    json.dump(
        main(Path(places[0]).resolve(), Path(places[1]).resolve(), places[2:] or ["speed", "quality"], pairs, steps, kept),
        sys.stdout,
        indent=1,
    )
    print()
