"""B-cos layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.aligned_layers import AlignedLayers, coded, kernels, layer, localised, mapped, scaled


def test_a_layer_is_the_product_times_a_power_of_the_cosine():
    random = torch.Generator().manual_seed(0)
    inputs, kernel = torch.randn(1, 2, 3, 3, generator=random), torch.randn(1, 2, 3, 3, generator=random)
    product = float((inputs * kernel).sum())
    for power in (1.0, 2.0, 2.5):
        wanted = product * abs(product / float(inputs.norm())) ** (power - 1)
        assert float(layer(inputs, kernel, power)[0, 0, 1, 1]) == pytest.approx(wanted, rel=1e-4)


def test_what_speaks_adds_up_to_what_is_said():
    images, held = coded(torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))), kernels(0)
    images.requires_grad_()
    said = mapped(held, images, 2.0, True, constant=True)[:, 4].sum()
    (slope,) = torch.autograd.grad(said, images)
    assert float((slope * images).sum().detach()) == pytest.approx(float(said.detach()), rel=1e-4), (
        "a B-cos network is linear once its factors are held"
    )


def test_coded_images_enter_as_their_difference_from_the_middle():
    images = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
    first = kernels(0)["0"]
    plain = torch.nn.functional.conv2d((images - 0.5)[:, None], 2 * first[:, :1])
    assert torch.allclose(torch.nn.functional.conv2d(coded(images), first), plain, atol=1e-5)


def test_what_speaks_for_a_class_is_counted_on_its_own_quarter():
    labels = torch.arange(40) % 4
    images = torch.zeros(40, 8, 8)
    for row, label in enumerate(labels.tolist()):
        images[row, :, 2 * label] = 1.0  # a class is a column, and the last layer names columns by where a kernel of size 1 sees them
    wrong = kernels(0)
    found = localised(wrong, coded(images), labels, 1.0, np.random.default_rng(0), True, 4)
    assert found == 0.25, "a network that names fewer than four classes rightly shows nothing"


def test_layers_begin_as_large_as_those_of_the_ordinary_network():
    images, held = coded(torch.rand(50, 8, 8, generator=torch.Generator().manual_seed(0))), kernels(0)
    bent = scaled(held, images, 2.0, True)
    plain, other = layer(images, held["0"], 1.0), layer(images, bent["0"], 2.0)
    assert float(other.square().mean()) == pytest.approx(float(plain.square().mean()), rel=1e-3)


def test_conversion_begins_from_the_ordinary_network():
    tiny = dict(before=120, steps=1, rates=(1e-3,))
    converted, scratch = (AlignedLayers(way=way, **tiny).measure(80) for way in ("converted", "scratch"))
    assert converted["kept"] > scratch["kept"] + 0.1 and converted["localised"] > 0.3
