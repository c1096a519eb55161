"""Kernels' changes as a core or a product."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.errors import PartError
from windtunnel.parts.experiment.factored_kernels import FactoredKernels, core_error, held, multiplied


def test_each_form_holds_what_it_is_of_and_not_the_other():
    for change in ("core", "product"):
        found = {form: FactoredKernels(form=form, change=change, numbers=0.21).measure(80)["error"] for form in ("core", "product")}
        assert found[change] < 1e-6 < 0.1 < min(other for form, other in found.items() if form != change)


def test_errors_are_those_of_the_approximation():
    random = np.random.default_rng(0)
    tensor = random.standard_normal((4, 5, 3, 3))
    assert core_error(tensor, tensor.shape) == pytest.approx(0, abs=1e-6)
    flat = np.linalg.svd(tensor.reshape(4, -1), compute_uv=False)
    assert core_error(tensor, (2, 5, 3, 3)) == pytest.approx(np.sqrt((flat[2:] ** 2).sum() / (flat**2).sum()))
    assert np.allclose(multiplied(tensor, np.eye(5)[::-1], 1), tensor[:, ::-1]) and held((2, 2, 1, 1), (4, 5, 3, 3)) == 4 + 8 + 10 + 6
    with pytest.raises(PartError, match="less than"):
        FactoredKernels(form="product", change="noise", numbers=0.01).measure(0)
