"""A study on a Ray cluster of two nodes (ray.cluster_utils) on this machine: are its runs shared out to both, and are they those of one?

``python benchmarks/ray_nodes.py`` prints JSON, and ends with exit code 1 where a node got no run or a number differs.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

STUDY = {
    "corpus": {"prose": "builtin:docstrings"},
    "budget": {"steps": 30},
    "seeds": 2,
    "baseline": {
        "tokenizer": {"vocabulary": 512},
        "model": {"depth": 2, "layers": 2, "width": 32, "heads": 2},
        "batch": 4,
        "context": 32,
        "precision": "float32",
        "compile": "no",
        "evaluation_tokens": 512,
        "test_tokens": 512,
    },
    "arms": {"wide": {"context": 64}},
}


def numbers(out: Path) -> dict[str, Any]:
    """What every run measured on test, by its key."""
    records = [json.loads(file.read_text(encoding="utf-8")) for file in out.rglob("record.json")]
    return {record["key"]: record["test"] for record in records}


def main() -> dict[str, Any]:
    """The study on both nodes, and again in this process alone."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    import yaml
    from ray.cluster_utils import Cluster
    from ray.util.state import list_tasks

    from windtunnel.commands.main import main as command

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "study.yaml").write_text(yaml.safe_dump(STUDY), encoding="utf-8")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": True})
        cluster.add_node(num_cpus=1)
        try:
            import ray

            ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
            common = ["study", str(folder / "study.yaml"), "--threads", "1"]
            run(command, [*common, "--out", str(folder / "ray"), "--engine", "ray"])
            tasks = Counter(task.node_id for task in list_tasks(filters=[("name", "=", "fly_on_node")], limit=1000))
            ray.shutdown()
        finally:
            cluster.shutdown()
        run(command, [*common, "--out", str(folder / "alone"), "--workers", "1"])
        one, two = numbers(folder / "ray"), numbers(folder / "alone")
    return {"runs": len(one), "runs_by_node": sorted(tasks.values()), "same_numbers": one == two and len(one) > 1}


def run(command: Any, words: list[str]) -> None:
    """A command of Windtunnel in this process."""
    try:
        command(words)
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    result = main()
    json.dump(result, sys.stdout, indent=1)
    print()
    sys.exit(0 if result["same_numbers"] and len(result["runs_by_node"]) > 1 else 1)
