"""The one loop of small networks: what a step is of, and at which rate, against steps written out by hand."""

import math

import pytest
import torch

from windtunnel.kits.optim.descent import falling, falling_to_a_tenth, take_step, take_steps, warmed_cosine
from windtunnel.kits.small_decoder import descend


def weights() -> list[torch.Tensor]:
    return [torch.tensor([3.0, -4.0], requires_grad=True), torch.tensor([12.0], requires_grad=True)]


def test_a_step_is_of_its_own_gradient_alone():
    first, second = weights()
    optimizer = torch.optim.SGD([first, second], 0.5)
    first.grad, second.grad = torch.full((2,), 100.0), torch.full((1,), 100.0)  # left from before
    for _ in range(2):
        take_step(optimizer, (first * torch.tensor([1.0, 2.0])).sum())
    assert first.tolist() == [2.0, -6.0] and second.tolist() == [12.0]
    assert first.grad is not None and first.grad.tolist() == [1.0, 2.0], "of the last loss, and there to be looked at"


@pytest.mark.parametrize(("clip", "moved"), [(None, 1.0), (26.0, 1.0), (6.5, 0.5)])
def test_gradients_are_clipped_together_and_before_the_step(clip: float | None, moved: float):
    one, two = weights()
    groups = [{"params": [one]}, {"params": [two]}]  # the gradient (3, -4, 12) has a norm of 13, over both groups
    take_step(torch.optim.SGD(groups, 1.0), (one.square().sum() + two.square().sum()) / 2, clip=clip)
    found = torch.cat([one, two]).detach()
    assert found == pytest.approx(torch.tensor([3.0, -4.0, 12.0]) * (1 - moved), abs=1e-5)


def test_each_step_has_its_rate_and_its_loss():
    weight = torch.tensor(0.0, requires_grad=True)
    optimizer = torch.optim.SGD([{"params": [weight]}, {"params": [torch.tensor(0.0, requires_grad=True)], "lr": 0.25}], 1.0)
    seen = list[tuple[int, float, float, float]]()

    def loss(step: int) -> torch.Tensor:
        seen.append((step, float(weight.detach()), *(group["lr"] for group in optimizer.param_groups)))
        return weight * 10**step

    last = take_steps(optimizer, loss, 4, falling)
    # The weight falls by rate times 10 ** step; the second group has a rate of its own, which falls too.
    assert seen == [(0, 0.0, 1.0, 0.25), (1, -1.0, 0.75, 0.1875), (2, -8.5, 0.5, 0.125), (3, -58.5, 0.25, 0.0625)]
    assert last == -58500.0, "the loss before the last step"
    assert float(weight.detach()) == -308.5


def test_a_rate_without_a_factor_is_left_to_others_and_no_step_is_no_loss():
    weight = torch.tensor(1.0, requires_grad=True)
    optimizer = torch.optim.SGD([weight], 0.1)

    def loss(step: int) -> torch.Tensor:
        optimizer.param_groups[0]["lr"] = float(step)
        return weight * 1.0

    take_steps(optimizer, loss, 3)
    assert float(weight.detach()) == 1.0 - 0 - 1 - 2
    assert take_steps(optimizer, loss, 0, falling) == 0.0 and float(weight.detach()) == -2.0


def test_curves_of_rates():
    assert [falling(step, 4) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]
    assert [falling_to_a_tenth(step, 3) for step in (0, 1, 2)] == pytest.approx([1.0, 0.7, 0.4])
    # Of 100 steps five go up; from then on, the cosine of all hundred.
    assert [warmed_cosine(step, 100) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert warmed_cosine(50, 100) == pytest.approx(0.5) and warmed_cosine(99, 100) == pytest.approx(0.5 * (1 - math.cos(math.pi / 100)))
    assert warmed_cosine(0, 1) == 1.0


def test_the_small_decoder_takes_the_steps_of_an_optimizer_written_out_to_the_bit():
    """Without decay, gradients of norm 1 at most, frozen weights left where they are: numbers of papers rest on it."""
    network, twin = (torch.nn.Linear(2, 1, dtype=torch.float64) for _ in range(2))  # 64 bits: a rate that is rounded otherwise shows
    twin.load_state_dict(network.state_dict())
    for one in (network, twin):
        one.bias.requires_grad_(False)
    inputs = torch.tensor([[100.0, -50.0], [30.0, 20.0]], dtype=torch.float64)
    descend(network, lambda step: network(inputs).square().mean() * (step + 1), 23, 0.1)
    optimizer = torch.optim.AdamW([twin.weight], 0.1, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(step + 1.0, 0.5 * (1 + math.cos(math.pi * (step / 23)))))
    for step in range(23):
        optimizer.zero_grad()
        (twin(inputs).square().mean() * (step + 1)).backward()
        torch.nn.utils.clip_grad_norm_([twin.weight], 1.0)
        optimizer.step()
        schedule.step()
    assert torch.equal(network.weight, twin.weight) and torch.equal(network.bias, twin.bias)
    assert not network.training
