"""Networks cut out of a larger one, how often each is drawn, and what all cost."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.image.elastic import Cut, cut, hidden, scores, taught, whole
from windtunnel.parts.experiment.elastic_students import DEPTHS, JUDGED, WIDTHS, ElasticStudents


def test_a_cut_of_the_whole_is_the_whole_and_a_smaller_one_a_part():
    held, images = whole(Cut(24, 4), 0), torch.randn(3, 3, 24, 24)
    assert torch.equal(scores(cut(held, Cut(24, 4)), images), scores(held, images))
    small = cut(held, Cut(8, 2))
    assert hidden(small, images).shape == (3, 8)
    assert torch.equal(small["1.weight"], held["3.weight"][:8, :8] * 3**0.5) and torch.equal(small["0.bias"], held["0.bias"][:8])
    held["2.weight"].requires_grad_(), held["3.weight"].requires_grad_()
    scores(cut(held, Cut(8, 2)), images).square().sum().backward()
    assert held["2.weight"].grad is None and held["3.weight"].grad[8:].abs().max() == 0 < held["3.weight"].grad[:8, :8].abs().max()


def test_costs_are_those_of_the_convolutions():
    size, images = Cut(8, 2), torch.randn(1, 3, 24, 24)
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        hidden(whole(size, 0), images)
    assert counter.get_total_flops() == 2 * size.cost


def test_small_sizes_are_drawn_more_often_and_arms_cost_alike():
    odds = ElasticStudents()._odds()
    assert abs(sum(odds.values()) - 1) < 1e-9
    assert np.isclose(odds[Cut(WIDTHS[0], DEPTHS[0])], 9 * odds[Cut(WIDTHS[-1], DEPTHS[-1])])
    assert len({round(each, 9) for each in ElasticStudents(learned="uniform")._odds().values()}) == 1
    sizes = [Cut(*each) for each in JUDGED]
    elastic, apart, long = (ElasticStudents(learned=how)._cost(sizes) for how in ("elastic", "apart", "apart-long"))
    assert abs(apart / elastic - 1) < 0.02 and long > elastic and ElasticStudents(learned="none")._cost(sizes) == 0


def test_a_student_learns_what_it_is_taught():
    said, wanted = torch.zeros(2, 4), torch.eye(4)[:2]
    assert torch.allclose(taught(said, wanted), torch.tensor(4.0).log())
    knobs = dict(images=40, steps=2, labels=40, judged=40)
    plain, elastic = (
        ElasticStudents(learned=how, **knobs)._student(np.random.randn(40, 3, 24, 24), Cut(24, 4), 2, 1e-2, 0)
        for how in ("plain", "elastic")
    )
    assert not torch.equal(plain["0.weight"], elastic["0.weight"])
