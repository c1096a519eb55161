"""Runs in shards that are disturbed as clusters do, by torchrun and by Ray, against one that is left alone: equal to the last bit?

``python benchmarks/elastic.py`` prints JSON, and ends with exit code 1 where anything differs. Two ranks hold the model between them:

- ``restarted``: a worker of ``torchrun --max-restarts 1`` is killed; torchrun begins both again.
- ``two_machines``: one worker in each of two network namespaces (where these are refused, on two ports); a whole machine is lost: its
  torchrun and its worker are killed, the other ends too, and both are begun again.
- ``signalled``: torchrun gets SIGTERM, as SLURM sends it before the time is up; the same command goes on.
- ``ray``: workers of Ray Train on a cluster of two local nodes, one of which is killed; then the runs of a study as tasks there.
- ``meshes``: by torchrun, stopped and gone on with on two ranks, one, four and two again. Its losses differ by rounding; its documents not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from two_ranks import SMALL, as_flown, free_port

STEPS = 60
RECIPE = SMALL | {"budget": {"steps": STEPS}}
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def work(out: str, cache: str, mesh: str, stop: str = "1", every: str = "0.2") -> None:
    """Train as one of the ranks that torchrun has started, until the share ``stop`` of the steps is made; then leave a checkpoint."""
    from windtunnel.commands.console import stopping
    from windtunnel.recipe import recipe_from
    from windtunnel.recipe.resolve import resolve
    from windtunnel.train import ranks, step
    from windtunnel.train.parallel.mesh import Mesh
    from windtunnel.train.prepare import prepare
    from windtunnel.train.run import fly

    drawn, share = Path(f"{out}.drawn"), step.draw

    def watched(phase_run: Any, progress: Any) -> Any:
        batch = share(phase_run, progress)
        if not ranks.rank() and phase_run.__dict__.get("horizon"):  # and not while a step is counted
            line = {"step": progress.step, "batch": hashlib.sha256(batch["tokens"].tobytes()).hexdigest()[:16]}
            with drawn.open("a") as file:
                file.write(json.dumps(line) + "\n")
        return batch

    from windtunnel.train import loop

    loop.draw = watched
    with ranks.joined("cpu"), stopping(not ranks.rank()) as asked:
        recipe = resolve(recipe_from(RECIPE))
        with ranks.rank_0_first():
            stream = prepare(recipe, Path(cache))
        latest = [0.0]
        how: dict[str, Any] = {
            "report": lambda told: latest.__setitem__(0, told["done"]),
            "stop": lambda: asked() or latest[0] >= float(stop),
        }
        laid = Mesh.read(mesh)
        record = fly(recipe, 0, stream, Path(out), threads=1, mesh=laid, checkpoint_seconds=float(every), warn=lambda _: None, **how)
    if record.failure:
        raise SystemExit(1)


def begin(ranks: int, out: Path, cache: Path, mesh: str, *more: str, options: tuple[str, ...] = (), before: Any = (), **env: str) -> Any:
    """torchrun on so many ``ranks``, whose words it is begun with are ``options``."""
    words = [*before, *TORCHRUN, *(options or ("--standalone",)), f"--nproc-per-node={ranks}", __file__, "work", str(out), str(cache), mesh]
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    log = open(f"{out}.said", "a")  # noqa: SIM115 (the process writes to it)
    return subprocess.Popen([*words, *more], env=os.environ | quiet | env, stdout=log, stderr=log)


def workers(out: Path) -> list[int]:
    """The processes that train in ``out``: those whose parent is torchrun or Ray."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            words = (entry / "cmdline").read_text().split("\0")
            if str(out) in words and "torch.distributed.run" not in words:
                found.append(int(entry.name))
    return sorted(found)


def until_checkpoint(out: Path, process: Any = None, before: int = 0) -> None:
    """Wait for a checkpoint after step ``before``."""
    while not any(int(each.name.removeprefix("step-")) > before for each in (out / "checkpoints").glob("step-*")):
        if process is not None and process.poll() is not None:
            raise SystemExit(f"{out}: it ended before its checkpoint:\n" + Path(f"{out}.said").read_text()[-2000:])
        time.sleep(0.02)


def status(out: Path) -> str:
    """Of the record in ``out``."""
    return str(json.loads((out / "record.json").read_text())["status"])


def told(out: Path, whole: Path, **more: Any) -> dict[str, Any]:
    """Whether the run in ``out`` is the one in ``whole``: weights, losses and gradient norms."""
    found = {"status": status(out), "same_to_the_last_bit": all(as_flown(whole, out).values()), **more}
    print(out.name, found, file=sys.stderr, flush=True)
    return found


@contextlib.contextmanager
def two_machines() -> Iterator[list[tuple[tuple[str, ...], str, str]]]:
    """For each of two: what a command begins with, its address and its interface; this machine twice where namespaces are refused."""
    names, cards = [f"wt{os.getpid()}{end}" for end in "ab"], [f"w{os.getpid()}{end}" for end in "ab"]
    steps = [["netns", "add", name] for name in names]
    steps += [["link", "add", cards[0], "type", "veth", "peer", "name", cards[1]]]
    for number, (name, card) in enumerate(zip(names, cards, strict=True)):
        steps += [["link", "set", card, "netns", name], ["-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", card]]
        steps += [["-n", name, "link", "set", card, "up"], ["-n", name, "link", "set", "lo", "up"]]
    try:
        try:
            for words in steps:
                subprocess.run(["ip", *words], check=True, capture_output=True)
            place = [
                (("ip", "netns", "exec", name), f"10.77.0.{number + 1}", card)
                for number, (name, card) in enumerate(zip(names, cards, strict=True))
            ]
        except (OSError, subprocess.CalledProcessError):
            place = [((), "127.0.0.1", "lo")] * 2
        yield place
    finally:
        for name in names:
            with contextlib.suppress(OSError):
                subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def restarted(folder: Path, cache: Path) -> dict[str, Any]:
    """A worker is killed, and torchrun begins both again."""
    out = folder / "restarted"
    process = begin(2, out, cache, "shard=2", options=("--standalone", "--max-restarts=1"))
    until_checkpoint(out, process)
    os.kill(workers(out)[-1], signal.SIGKILL)
    return told(out, folder / "whole", exit_code=process.wait())


def on_two_machines(folder: Path, cache: Path) -> dict[str, Any]:
    """One worker on each of two machines, of which one is lost."""
    out, port = folder / "machines", free_port()
    with two_machines() as places:
        separate = places[0][0] != ()

        def both() -> list[Any]:
            found = []
            for number, (place, address, card) in enumerate(places):
                rendezvous = ("--nnodes=2", "--rdzv-backend=c10d", f"--rdzv-endpoint={places[0][1]}:{port}", f"--local-addr={address}")
                rendezvous += (f"--rdzv-conf=is_host={int(not number)}",)
                found.append(begin(1, out, cache, "shard=2", options=rendezvous, before=place, GLOO_SOCKET_IFNAME=card))
            return found

        processes = both()
        until_checkpoint(out, processes[0])
        lost = processes[1].pid
        beneath = [
            int(line) for line in subprocess.run(["ps", "-o", "pid=", "--ppid", str(lost)], capture_output=True, text=True).stdout.split()
        ]
        for pid in (lost, *beneath):
            os.kill(pid, signal.SIGKILL)
        codes = [process.wait() for process in processes]
        again = [process.wait() for process in both()]
    return told(out, folder / "whole", exit_codes_when_one_was_lost=codes, exit_codes=again, network_namespaces=separate)


def signalled(folder: Path, cache: Path) -> dict[str, Any]:
    """torchrun gets the signal that SLURM sends, and the command is given again."""
    out = folder / "signalled"
    process = begin(2, out, cache, "shard=2")
    until_checkpoint(out, process)
    process.send_signal(signal.SIGTERM)
    process.wait()
    first = status(out)
    begin(2, out, cache, "shard=2").wait()
    return told(out, folder / "whole", status_after_the_signal=first)


def by_ray(folder: Path, cache: Path) -> dict[str, Any]:
    """Two workers on a cluster of two nodes, one of which is killed."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    import threading

    import ray
    from ray.cluster_utils import Cluster

    from windtunnel.recipe import recipe_from
    from windtunnel.recipe.resolve import resolve
    from windtunnel.train.on_ray import train_on_ray
    from windtunnel.train.parallel.mesh import Mesh

    out, hit = folder / "by-ray", list[int]()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, logging_level="error", log_to_driver=False)

    def kill() -> None:
        until_checkpoint(out)
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if "RayTrainWorker" in (entry / "cmdline").read_text() or "TrainWorker" in (entry / "comm").read_text():
                    hit.append(int(entry.name))
        os.kill(max(hit), signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        nodes = len({node["NodeID"] for node in ray.nodes()})
        how = {"threads": 1, "device": "cpu", "checkpoint_seconds": 0.2}
        train_on_ray(resolve(recipe_from(RECIPE)), 0, out, cache, Mesh(shard=2), say=lambda _: None, **how)
        flown = as_tasks(folder / "study")
    finally:
        ray.shutdown()
        cluster.shutdown()
    return told(out, folder / "whole", nodes=nodes, workers=len(hit), runs_of_a_study=flown)


def as_tasks(out: Path) -> dict[str, int]:
    """How the runs of a small study ended, on the cluster that this process has joined, a node for each at a time."""
    import yaml

    from windtunnel.study.file import load_study
    from windtunnel.study.fly import fly_study
    from windtunnel.train.record import read_record

    corpus, *rest = SMALL
    study = {"corpus": SMALL[corpus], "budget": {"steps": 10}, "seeds": 2, "arms": {"long": {"context": 64}}}
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(study | {"baseline": {key: SMALL[key] for key in rest}}))
    fly_study(load_study(file), out, engine="ray", threads=1, quiet=True)
    ends = [record.status for run in (out / "runs").iterdir() if (record := read_record(run)) is not None]
    return {status: ends.count(status) for status in sorted(set(ends))}


def over_meshes(folder: Path, cache: Path) -> dict[str, Any]:
    """On two ranks, one, four and two again; which documents each step read, and how far the losses lie from those of the whole run."""
    out, whole = folder / "meshes", folder / "whole"
    for mesh, ranks, stop in (("shard=2", 2, 0.25), ("shard=1", 1, 0.5), ("shard=4", 4, 0.75), ("shard=2", 2, 1.0)):
        process = begin(ranks, out, cache, mesh, str(stop), "1000")
        if process.wait():
            raise SystemExit(f"{mesh}: it broke:\n" + Path(f"{out}.said").read_text()[-2000:])
        print("meshes", mesh, status(out), file=sys.stderr, flush=True)
    drawn = [[json.loads(line) for line in Path(f"{run}.drawn").read_text().splitlines()] for run in (whole, out)]
    losses = [[json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()] for run in (whole, out)]
    apart = [abs(one - two) / one for one, two in zip(*losses, strict=True)]
    return {
        "order": "2 -> 1 -> 4 -> 2",
        "status": status(out),
        "every_step_once": [line["step"] for line in drawn[1]] == list(range(STEPS)),
        "same_batches_in_the_same_order": drawn[0] == drawn[1],
        "losses_apart": {"at_most": max(apart), "first_tenth": max(apart[: len(apart) // 10])},
    }


SCENES = {"restarted": restarted, "two_machines": on_two_machines, "signalled": signalled, "ray": by_ray, "meshes": over_meshes}


def main(*names: str) -> dict[str, Any]:
    """All of :data:`SCENES`, or those of ``names``."""
    found: dict[str, Any] = {"steps": STEPS}
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name), Path(name) / "cache"
        if begin(2, folder / "whole", cache, "shard=2", "1", "1000").wait():
            raise SystemExit("the run that is left alone broke:\n" + (folder / "whole.said").read_text()[-2000:])
        for scene in names or SCENES:
            try:
                found[scene] = SCENES[scene](folder, cache)
            except (Exception, SystemExit) as error:  # the other scenes are told all the same
                found[scene] = {"status": f"broke: {error}"}
                for said in folder.glob("*.said"):
                    print(said.name, said.read_text()[-3000:], sep="\n", file=sys.stderr, flush=True)
    return found


def right(found: dict[str, Any]) -> bool:
    """Whether all came to what they should, after they had been disturbed."""
    asked = ("same_to_the_last_bit", "every_step_once", "same_batches_in_the_same_order", "workers")
    return all(
        scene["status"] == "finished"
        and all(scene.get(key, True) for key in asked)
        and scene.get("status_after_the_signal", "interrupted") == "interrupted"
        for key, scene in found.items()
        if key != "steps"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(*sys.argv[2:])
        sys.exit()
    result = main(*sys.argv[1:])
    json.dump(result, sys.stdout, indent=1)
    print()
    sys.exit(0 if right(result) else 1)
