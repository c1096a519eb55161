"""What the weights of a checkpoint say of themselves, a layer at a time: dead, collapsed or never trained.

The spectrum of a matrix is held against that of a matrix of independent entries of the same shape, which any usual initialisation draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from windtunnel.core.errors import UserError
from windtunnel.models.content import weight_files
from windtunnel.models.locate import PICKLED, locate

LARGEST_FILTER = 49  # numbers of a kernel, 7 x 7; larger ones are those of patches, which are read as a matrix
FEWEST = 8  # rows and columns of a matrix about which anything is said
FEWEST_KERNELS = 16
DEAD = 0.01  # of the usual size of a row or column, and of the largest number of all kernels
HALF = 0.5  # of the rows or columns, from which on a layer is dead
COLLAPSED = 0.3  # of the entropy of noise
SCATTER = 5.5  # standard deviations of noise: of its entropy (1 nat over the longer side, shifted by 0.4) and of its mean cosine
EDGE = 5.0  # of the largest singular value of noise, in units of Tracy and Widom: above it one matrix of noise in 100,000
ALIKE = 1024  # most rows between which angles are taken


class Layer(NamedTuple):
    """One matrix, or the kernels of one convolution.

    ``dead_rows`` and ``dead_columns`` are shares, of kernels the share that is dead and None. ``entropy`` is that of the spectrum over that
    of noise of the shape. ``standing_out`` counts the directions that noise does not have. ``orthogonality`` is 1 less the mean absolute
    cosine between two rows. ``verdict`` is ``dead``, ``collapsed``, ``untrained``, empty, or ``small`` where there is too little to say;
    ``not finite`` where a number is none, and nothing is measured.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dead_rows: float
    dead_columns: float | None
    entropy: float
    standing_out: int
    orthogonality: float
    verdict: str


def stored(name: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the checkpoint ``name``: a file of weights by itself, or what :func:`windtunnel.models.locate.locate` finds.

    Of any architecture: nothing but the files is asked.

    Raises:
        UserError: for a file that cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    place = Path(name).expanduser()
    alone = place.is_file() and place.suffix in (".safetensors", *PICKLED)
    for file in [place] if alone else weight_files(locate(name)):
        try:
            if file.suffix == ".safetensors":
                with safe_open(file, framework="pt") as tensors:
                    yield from ((key, tensors.get_tensor(key)) for key in tensors.keys())  # noqa: SIM118, it is no mapping
            else:
                found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
                found = found.get("state_dict", found) if isinstance(found, dict) else {}
                once = {(value.data_ptr(), value.shape): (key, value) for key, value in found.items() if isinstance(value, Tensor)}
                yield from once.values()  # tied ones are two names of one place
        except (SafetensorError, RuntimeError, OSError, ValueError, EOFError) as error:
            raise UserError(f"{file}: the weights cannot be read: {error}") from error
        except Exception as error:  # pickle's own, of a file that holds more than tensors
            raise UserError(f"{file}: is no file of plain weights: {type(error).__name__}: {error}") from error


def held(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Every parameter of a model in memory, tied ones once."""
    yield from ((name, parameter.detach()) for name, parameter in model.named_parameters())


def layers(tensors: Iterable[tuple[str, Tensor]]) -> list[Layer]:
    """A :class:`Layer` for every matrix and convolution of floating-point numbers among ``tensors``; vectors are left out."""
    found = []
    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.ndim > 1 and min(tensor.shape) > 0:
            found += [_judged(key, each) for key, each in _one_by_one(name, tensor)]
    return found


def _one_by_one(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The experts of a mixture, stored as one tensor of three dimensions, apart; anything else as it is."""
    if tensor.ndim == 3 and tensor.shape[-1] > LARGEST_FILTER:
        yield from ((f"{name}[{number}]", each) for number, each in enumerate(tensor))
    else:
        yield name, tensor


def _judged(name: str, tensor: Tensor) -> Layer:
    shape, size = tuple(tensor.shape), math.prod(tensor.shape[2:])
    rows = tensor.double().flatten(1)
    if not rows.isfinite().all():
        return Layer(name, "filters" if 1 < size <= LARGEST_FILTER else "matrix", shape, 0.0, None, 0.0, 0, 0.0, "not finite")
    even, alike = _angles(rows)
    if 1 < size <= LARGEST_FILTER:
        kernels = rows.reshape(-1, size)
        dead = (kernels.abs().amax(dim=1) < DEAD * kernels.abs().max()).double().mean() if kernels.any() else torch.tensor(1.0)
        entropy, out, noise = _spectrum(kernels - kernels.mean(dim=0), len(kernels) - 1)
        verdict = _word(len(kernels) < FEWEST_KERNELS, (float(dead),), entropy, noise and alike)
        return Layer(name, "filters", shape, float(dead), None, entropy, out, even, verdict)
    across, down = _dead(rows), _dead(rows.T)
    entropy, out, noise = _spectrum(rows, len(rows))
    verdict = _word(min(rows.shape) < FEWEST, (across, down), entropy, noise and alike)
    return Layer(name, "matrix", shape, across, down, entropy, out, even, verdict)


def _word(small: bool, dead: tuple[float, ...], entropy: float, noise: bool) -> str:
    if max(dead) > HALF:
        return "dead"
    if small:
        return "small"
    return "collapsed" if entropy < COLLAPSED else "untrained" if noise else ""


def _dead(rows: Tensor) -> float:
    """The share of rows whose norm is nothing beside the usual one."""
    norms = rows.norm(dim=1)
    return float((norms <= DEAD * norms.square().mean().sqrt()).double().mean())


def _spectrum(rows: Tensor, degrees: int) -> tuple[float, int, bool]:
    """Entropy over that of noise, how many directions stand out of noise, and whether the spectrum is that of noise.

    Of noise of s x l entries, s the shorter side, the squared singular values as shares of their sum have the entropy ln s - s / 2l (Page
    1993, for matrices of independent entries at large), and the largest lies where Johnstone 2001 says. ``degrees`` is the number of
    independent rows: one less than there are where their mean was taken off.
    """
    gram = rows.T @ rows if rows.shape[1] <= rows.shape[0] else rows @ rows.T
    squares = torch.linalg.eigvalsh(gram).clamp(min=0)
    total = float(squares.sum())
    if total <= 0 or not math.isfinite(total):
        return 0.0, 0, False
    short, long = sorted((max(1, degrees), rows.shape[1]))
    shares = squares / total
    entropy = float(-(shares * shares.clamp(min=1e-300).log()).sum())
    expected = max(1e-9, math.log(short) - short / (2 * long))
    one, other = math.sqrt(max(1, long - 1)), math.sqrt(short)
    edge = (one + other) ** 2 + EDGE * (one + other) * (1 / one + 1 / other) ** (1 / 3)
    out = int((squares > edge * total / (short * long)).sum())
    return entropy / expected, out, out == 0 and abs(expected - entropy) * long < SCATTER


def _angles(rows: Tensor) -> tuple[float, bool]:
    """1 less the mean absolute cosine between two rows, and whether that is what noise has, between columns too.

    A value projection may keep the spectrum of noise through all of training; its rows do not keep their angles.
    """
    found = [_cosine(rows), _cosine(rows.T)]
    noise = all(
        abs(cosine - math.exp(math.lgamma(size / 2) - math.lgamma((size + 1) / 2)) / math.pi**0.5)
        < SCATTER * (1 - 2 / math.pi) ** 0.5 / (size * max(1, pairs)) ** 0.5
        for cosine, size, pairs in found
    )
    return 1 - found[0][0], noise


def _cosine(rows: Tensor) -> tuple[float, int, float]:
    """The mean absolute cosine between two rows, how many numbers a row has, and how many pairs that is the mean of."""
    chosen = rows[torch.linspace(0, len(rows) - 1, min(len(rows), ALIKE)).long()]
    count = len(chosen)
    if count < 2:
        return 0.0, rows.shape[1], 0.0
    unit = chosen / chosen.norm(dim=1, keepdim=True).clamp(min=1e-300)
    alike = (unit @ unit.T).abs()
    return float((alike.sum() - alike.diagonal().sum()) / (count * (count - 1))), rows.shape[1], count * (count - 1) / 2
