"""How the ranks of a run are laid out: in groups that hold one model between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from windtunnel.core.errors import UserError, nearest

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh

AXES = ("data", "shard")


class Mesh(NamedTuple):
    """``data`` groups of ``shard`` ranks. A group holds one model, of which each rank holds a part. One process is a mesh of one."""

    data: int = 1
    shard: int = 1

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
        return ",".join(f"{axis}={size}" for axis, size in zip(AXES, self, strict=True))

    @property
    def ranks(self) -> int:
        """How many processes it takes."""
        return self.data * self.shard


def laid_out(mesh: Mesh, device: torch.device) -> DeviceMesh | None:
    """The ranks as ``mesh`` says, for sharding over them; None where every rank holds its model whole.

    The ranks of a group are next to each other: on one machine, where torchrun starts them. Every rank has to come here.
    """
    from torch.distributed.device_mesh import init_device_mesh

    if mesh.shard == 1:
        return None
    whole = init_device_mesh(device.type, tuple(mesh), mesh_dim_names=AXES)
    return whole if mesh.data > 1 else whole["shard"]
