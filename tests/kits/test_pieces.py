"""Logits that are never held whole: the loss and the gradient are those of logits that are."""

from __future__ import annotations

import pytest
import torch
from tiny_models import DECODERS, LENGTH, SIZE, build, packed, random_tokens

from windtunnel.kits.text import predict
from windtunnel.models.forward import head_apart
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.train.count import count_step


@pytest.fixture
def in_pieces(monkeypatch):
    """Let any logits be too large, and a piece be of five positions."""

    def set_to() -> None:
        monkeypatch.setattr(predict, "LARGE", 0)
        monkeypatch.setattr(predict, "PIECE", 5 * 4 * SIZE)

    return set_to


def a_batch(masked: bool) -> dict[str, torch.Tensor]:
    tokens, documents = packed() if masked else (random_tokens(2, LENGTH), None)
    labels = tokens.roll(-1, dims=1)
    labels[:, -1] = -100
    return {"tokens": tokens, "labels": labels} | ({"documents": documents} if masked else {})


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("family", DECODERS)
def test_the_loss_in_pieces_is_the_loss(family, masked, in_pieces):
    batch, found = a_batch(masked), []
    for _ in range(2):
        model = build(family)
        loss = NextToken().loss(model, batch)
        (loss.values * torch.linspace(0, 1, LENGTH)).sum().backward()
        found.append((loss, [weight.grad for weight in model.parameters()]))
        in_pieces()
    (whole, gradients), (pieces, others) = found
    assert whole.outputs.logits is not None and pieces.outputs.logits is None, "the second one was made in pieces"
    assert torch.equal(whole.counts, pieces.counts)
    torch.testing.assert_close(whole.values, pieces.values, atol=1e-5, rtol=1e-5)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_logits_that_are_asked_for_are_whole(in_pieces):
    in_pieces()
    model, batch = build("llama"), a_batch(masked=False)
    assert NextToken().loss(model, batch, frozenset({"logits"})).outputs.logits.shape == (2, LENGTH, SIZE)
    assert not head_apart(build("bert")) and not head_apart(build("t5"))


def test_what_pieces_cost_more_is_counted(in_pieces):
    model, batch = build("llama"), a_batch(masked=False)

    def step() -> None:
        loss = NextToken().loss(model, batch)
        loss.values.sum().backward()

    whole, *_ = count_step(model, step, matrices=False)
    in_pieces()
    pieces, *_ = count_step(model, step, matrices=False)
    product = 2 * SIZE * model.config.hidden_size
    assert pieces - whole == 2 * LENGTH * product + 2 * product, "the head once more, and the logits of two last positions"


def test_behind_a_frozen_head_nothing_is_made_twice(in_pieces):
    batch, found = a_batch(masked=False), []
    for _ in range(2):
        model = build("llama")
        model.get_output_embeddings().weight.requires_grad_(False)  # tied: the embedding is frozen with it

        def step(model: torch.nn.Module = model) -> None:
            loss = NextToken().loss(model, batch)
            (loss.values * torch.linspace(0.5, 1, LENGTH)).sum().backward()

        flops, *_ = count_step(model, step, matrices=False)
        found.append((flops, [weight.grad for weight in model.parameters()]))
        in_pieces()
    (whole, gradients), (pieces, others) = found
    assert pieces == whole + 2 * 2 * SIZE * model.config.hidden_size, "as many FLOPs, and the logits of two last positions"
    assert sum(one is None for one in gradients) == 1
    for one, other in zip(gradients, others, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):  # a frozen head under autocast, and nothing to learn at all
        half = NextToken().loss(model, batch)
    assert half.values.dtype == torch.float32
    torch.testing.assert_close(half.values, NextToken().loss(model, batch).values, atol=0.03, rtol=0.03)
    with torch.no_grad():
        torch.testing.assert_close(NextToken().loss(model, batch).values, NextToken().loss(build("llama"), batch).values)
