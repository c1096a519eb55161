"""Patches and names: who sees whom, and what a regression to names finds."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.image.fusion import WIDTH, NamedPatches, PatchReader
from windtunnel.parts.experiment.fused_names import FusedNames, nearest, pictures, scored


def test_only_fused_patches_see_names():
    torch.manual_seed(0)
    seen, names = torch.randn(2, 6, WIDTH), torch.randn(3, 5)
    other = torch.cat([names[:2], torch.randn(1, 5)])
    for kind, changes in {"linear": False, "apart": False, "fused": True}.items():
        network = NamedPatches(kind, 6, 5)
        before = network(seen, names)
        assert before.shape == (2, 6, 3)
        if kind == "linear":
            assert torch.equal(before[..., :2], network(seen, other)[..., :2])
            continue
        read = []
        hook = network.block.register_forward_hook(lambda module, given, found, read=read: read.append(found[:, :6]))
        for some in (names, other):
            network(seen, some)
        hook.remove()
        assert torch.allclose(*read, atol=1e-6) is not changes, kind


def test_a_regression_finds_names_that_lie_on_a_plane():
    """Kinds are sums of two words, and so are vectors of patches: names without a patch are found too."""
    random = np.random.default_rng(0)
    words = random.standard_normal((2, 4, 12))
    names = torch.from_numpy((words[0][:, None] + words[1][None]).reshape(16, 12)).float()
    into = torch.from_numpy(random.standard_normal((12, WIDTH))).float()
    kinds = random.integers(-1, 16, (200, 4))
    missing = np.arange(4) * 5

    def given(some: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        return torch.cat([names, torch.zeros(1, 12)])[torch.from_numpy(some)] @ into, some

    known = np.where(np.isin(kinds, missing), -1, kinds)
    fits = nearest(given(known), names, 0.001)
    assert scored(fits, given(kinds), names)[missing].mean() > 0.9


def test_the_reader_sees_only_what_is_near_and_pictures_know_their_kinds():
    images, kinds = pictures(np.random.default_rng(0), 8, np.array([3, 9]))
    assert set(np.unique(kinds)) == {-1, 3, 9} and kinds.shape == (8, 36)
    reader = PatchReader()
    changed = images.clone()
    changed[:, :, -2:, -2:] += 1
    apart = (reader(changed) - reader(images)).abs().amax(dim=(0, 2)).view(6, 6)
    assert apart[-1, -1] > 0 and apart[0].max() == 0 and apart[:, 0].max() == 0


def test_masks_of_seen_kinds_are_learned():
    found = FusedNames(join="nearest", scenes=150, judged=60, reading=30).measure(80)
    assert 0 <= found["seen"] <= 1 and found["named"] > 1.5 / 30
