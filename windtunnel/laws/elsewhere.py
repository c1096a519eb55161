"""What ``windtunnel check --device`` and ``Study.elsewhere`` say: what runs take on a named accelerator, and what some days of it buy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.core.errors import UserError
from windtunnel.train.parallel.mesh import Mesh

if TYPE_CHECKING:
    from windtunnel.recipe import Recipe

SMALL = 1e8  # parameters below which the share of the peak that is usual is out of reach


class Elsewhere(NamedTuple):
    """Devices that runs are thought to be flown on: their name, how many share a run, for how many days, and the share of their peak."""

    device: str
    gpus: int
    days: float | None
    mfu: float
    mesh: Mesh | None = None  # how they are laid out, where that is said
    recompute: bool = False  # whether blocks compute their activations again
    fitted: bool = False  # whether the mesh of each run is chosen by memory

    @classmethod
    def asked(
        cls,
        device: str | None,
        gpus: int | None,
        days: float | None,
        mfu: float | None,
        mesh: str | None = None,
        recompute: bool = False,
    ) -> Elsewhere | None:
        """What the options say; None without a device.

        Raises:
            UserError: for another of them without a device, a device that is not in the table, what is no number of days or no share, and
                a mesh that takes another number of devices.
        """
        from windtunnel.laws.device import refuse_no_share
        from windtunnel.train.accelerators import device_of

        if device is None:
            for name, value in (("gpus", gpus), ("days", days), ("mfu", mfu)):
                if value is not None:
                    raise UserError(f"--{name} {value:g}: of which accelerator? add --device h100")
            if mesh is not None or recompute:
                asked = f"--mesh {mesh}" if mesh is not None else "--recompute"
                raise UserError(f"{asked}: of which accelerators? add --device h100")
            return None
        device_of(device)
        if days is not None and not 0 < days < math.inf:
            raise UserError(f"--days {days:g}: give a positive number of days")
        share = 0.4 if mfu is None else mfu
        refuse_no_share(share)
        fitted = mesh == "auto"
        laid = Mesh.read(mesh) if mesh and not fitted else None
        if laid and gpus not in (None, laid.ranks):
            raise UserError(f"--gpus {gpus}: the mesh {laid} takes {laid.ranks} devices; leave --gpus out")
        return cls(device, laid.ranks if laid else gpus or 1, days, share, laid, recompute, fitted)

    def shared(self, recipe: Recipe, mesh: Mesh | None) -> int:
        """How many devices a run of ``recipe`` takes: those of its ``mesh``, or no more than a step has sequences."""
        return mesh.ranks if mesh else min(self.gpus, max(phase.batch for phase in recipe.phases))

    def told(self, recipes: Mapping[str, Recipe]) -> tuple[dict[str, Any], list[str]]:
        """What a run of each of ``recipes`` takes there, and what the days buy of the first: as data, and in sentences.

        Raises:
            UserError: for a device that is not in the table, and for days that buy less than the first recipe has.
        """
        from windtunnel.laws.device import on_device, sentence
        from windtunnel.laws.plan import plan, spend
        from windtunnel.train.accelerators import device_of
        from windtunnel.train.estimate import estimate
        from windtunnel.train.fit import fitting
        from windtunnel.train.parallel.local import refuse_local
        from windtunnel.train.traced import traced

        device = device_of(self.device)
        if self.mesh:
            for recipe in recipes.values():
                refuse_local(recipe, self.mesh)
        laid = {
            name: fitting(recipe, self.gpus, device.memory, recompute=self.recompute) if self.fitted else self.mesh
            for name, recipe in recipes.items()
        }
        steps = {
            name: traced(recipe, bfloat16=recipe.precision != "float32", mesh=laid[name], again=self.recompute)
            for name, recipe in recipes.items()
        }
        # A pilot whose step has fewer sequences than there are devices takes as many devices as it has sequences.
        runs = {
            name: on_device(recipe, device, self.shared(recipe, laid[name]), self.mfu, steps[name], laid[name])
            for name, recipe in recipes.items()
        }
        many = f"{self.gpus} {device.name}" if self.gpus > 1 else f"one {device.name}"
        many += f", laid out as {self.mesh}," if self.mesh else ""
        lines = [f"on {many} at {self.mfu:.0%} of {device.peak:.3g} bfloat16 FLOPs a second ({device.source}), one run of each:"]
        for name, one in runs.items():
            fewer = f", on {one.gpus} of them" if one.gpus < self.gpus else ""
            fewer += f", laid out as {laid[name]}" if self.fitted else ""
            lines.append(f"  {name}: {sentence(one, device, laid[name])}{fewer}" + ("" if steps[name] else "; memory by rule of thumb"))
        if any(estimate(recipe)["parameters"] < SMALL for recipe in recipes.values()):
            lines.append(
                f"  below {SMALL:.0e} parameters a model reaches far less of the peak: measure a step, and give its share as --mfu"
            )
        found: dict[str, Any] = {
            "device": device._asdict(),
            "runs": {name: {**one.plain(), "traced": steps[name] is not None} for name, one in runs.items()},
        }
        if self.days is not None:
            first, recipe = next(iter(recipes.items()))
            budget = spend(None, self.gpus, self.days, self.mfu, device.peak)
            large = plan(recipe, arm=first, flops=budget, gpus=self.gpus, mfu=self.mfu, device=device)
            numbers = {name: one.value for name, one in large.numbers.items()}
            held = int(numbers["sequences at a time"])
            fits = f"fits, {held} sequences at a time" if held else "does not fit, not with one sequence at a time"
            lines.append(
                f"{self.days:g} days there buy {budget:.3g} FLOPs, best spent on {numbers['parameters']:.3g} parameters and "
                f"{numbers['tokens']:.3g} tokens: {numbers['layers']:.0f} layers of width {numbers['width']:.0f}, "
                f"{numbers['memory a device'] / 1e9:.3g} of {device.memory / 1e9:.0f} GB ({fits})"
            )
            lines += [f"  {line}" for line in large.warnings]
            lines.append("  `windtunnel plan` with --explain says from where each number comes, and writes the recipe")
            found["large"] = large.plain()
        return found, lines
