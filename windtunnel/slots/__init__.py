"""The places where parts plug in: the contract of every slot together with the context it is handed, one file each."""

# ruff: noqa: I001 (in the order in which a document meets them, which is how they are listed)
from windtunnel.core import registry
from windtunnel.core.part import Part
from windtunnel.slots.source import Source
from windtunnel.slots.curator import Curator, CuratorContext
from windtunnel.slots.encoding import Encoding
from windtunnel.slots.mixture import Mixture
from windtunnel.slots.packing import Documents, Layout, Packing
from windtunnel.slots.objective import Loss, Objective
from windtunnel.slots.loss_term import LossTerm
from windtunnel.slots.weighting import Weighting
from windtunnel.slots.selection import Selection
from windtunnel.slots.family import SIZES, AttentionPlace, BlockPlace, Call, Family, Inputs, MlpPlace, Places, Sizes
from windtunnel.slots.start import ALONE, StartContext, Start
from windtunnel.slots.structure import Structure
from windtunnel.slots.optimizer import Optimizer
from windtunnel.slots.schedule import Schedule
from windtunnel.slots.after_step import AfterStep
from windtunnel.slots.evaluation import Among, ByDocument, Evaluation, HeldOut, Numbers
from windtunnel.slots.experiment import Experiment
from windtunnel.slots.contexts import LookContext, BatchContext
from windtunnel.slots.progress import Progress


def by_name() -> dict[str, type[Part]]:
    """Every slot by its name, in the order in which a document meets them."""
    return registry.slots()


__all__ = [
    "ALONE",
    "SIZES",
    "AfterStep",
    "Among",
    "AttentionPlace",
    "BatchContext",
    "BlockPlace",
    "ByDocument",
    "Call",
    "Curator",
    "CuratorContext",
    "Documents",
    "Encoding",
    "Evaluation",
    "Experiment",
    "Family",
    "HeldOut",
    "Inputs",
    "Layout",
    "LookContext",
    "Loss",
    "LossTerm",
    "Mixture",
    "MlpPlace",
    "Numbers",
    "Objective",
    "Optimizer",
    "Packing",
    "Places",
    "Progress",
    "Schedule",
    "Selection",
    "Sizes",
    "Source",
    "Start",
    "StartContext",
    "Structure",
    "Weighting",
    "by_name",
]
