"""How the ranks of a run are laid out: in groups that hold one model between them, and within these in groups that compute a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from windtunnel.core.errors import UserError, nearest

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh

AXES = ("data", "shard", "tensor")


class Mesh(NamedTuple):
    """``data`` groups that each hold one model. A group has ``shard`` times ``tensor`` ranks, of which each holds a part.

    The ``tensor`` ranks that are next to each other read the same sequences and compute each layer between them. One process is a
    mesh of one.
    """

    data: int = 1
    shard: int = 1
    tensor: int = 1

    @classmethod
    def read(cls, text: str) -> Mesh:
        """What the command line says: ``data=2,shard=4``. An axis that is left out is 1.

        Raises:
            UserError: for anything else.
        """
        found: dict[str, int] = {}
        for entry in text.split(","):
            axis, _, size = (word.strip() for word in entry.partition("="))
            if axis not in AXES:
                raise UserError(f"--mesh {text}: it has no axis {axis!r}; {nearest(axis, AXES)}")
            if axis in found or not size.isdecimal() or int(size) < 1:
                raise UserError(f"--mesh {text}: each axis is given once, with a whole number from 1, as in data=2,shard=4")
            found[axis] = int(size)
        return cls(**found)

    @classmethod
    def whole(cls) -> Mesh:
        """Every rank that there is, each with a whole model."""
        from windtunnel.train import ranks

        return cls(data=ranks.count())

    def __str__(self) -> str:
        return ",".join(f"{axis}={size}" for axis, size in zip(AXES, self, strict=True) if axis != "tensor" or size > 1)

    @property
    def ranks(self) -> int:
        """How many processes it takes."""
        return self.data * self.shard * self.tensor

    @property
    def parts(self) -> int:
        """In how many parts a model lies."""
        return self.shard * self.tensor

    @property
    def readers(self) -> int:
        """To how many the sequences of a step are shared out."""
        return self.data * self.shard


def laid_out(mesh: Mesh, device: torch.device) -> DeviceMesh | None:
    """The ranks as ``mesh`` says, for sharding over them; None where every rank holds its model whole.

    The ranks of a group are next to each other: on one machine, where torchrun starts them. Every rank has to come here.
    """
    from torch.distributed.device_mesh import init_device_mesh

    if mesh.parts == 1:
        return None
    sizes = {axis: size for axis, size in zip(AXES, mesh, strict=True) if size > 1 or axis == "shard"}
    return init_device_mesh(device.type, tuple(sizes.values()), mesh_dim_names=tuple(sizes))


def beside(mesh: DeviceMesh | None) -> int:
    """How many ranks that are next to each other on ``mesh`` read the same sequences."""
    names = (mesh.mesh_dim_names or ()) if mesh is not None else ()
    return mesh["tensor"].size() if mesh is not None and "tensor" in names else 1
