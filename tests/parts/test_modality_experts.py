"""Layers by kind of token, and captions word by word."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.kits.image.captioner import Captioner
from windtunnel.parts.experiment.caption_words import SHAPE, CaptionWords, labelled
from windtunnel.parts.experiment.modality_experts import VALUES, ModalityExperts, drawn_sequences, network, windows


def test_tokens_follow_their_table_but_for_a_tenth():
    random = np.random.default_rng(0)
    tables = random.integers(0, VALUES, (2, 2, VALUES, VALUES))
    tokens = drawn_sequences(random, tables, 2000)
    text = tables[0, 0, tokens[:, 8], tokens[:, 7] % 3] == tokens[:, 9]
    picture = tables[1, tokens[:, 0] % 2, tokens[:, 18], tokens[:, 17] % 3] == tokens[:, 19]
    assert text.mean() == pytest.approx(0.9, abs=0.03) and picture.mean() == pytest.approx(0.9, abs=0.03)
    given, wanted = windows(tokens, 1)
    assert given.shape == (20000, 6) and (given[:, 0] < VALUES).all() and (given[:2000, -1] >= VALUES).all()
    assert (wanted[:2000] == torch.from_numpy(tokens[:, 14])).all()


@pytest.mark.parametrize("layers", ["split", "twin", "separate"])
def test_layers_of_the_other_kind_have_no_part_in_a_token(layers):
    torch.manual_seed(0)
    model = network(layers, 8)
    given = torch.randint(0, VALUES, (5, 6))
    model(given, 0).sum().backward()
    assert all(each.grad is None for each in model.second.parameters())
    assert all(each.grad is not None for each in model.first.parameters())


def test_a_frozen_language_model_says_of_text_what_it_said():
    found = {layers: ModalityExperts(layers=layers, steps=80, sequences=200).measure(80) for layers in ("twin", "tune")}
    assert found["twin"]["text_rise"] == 0 and found["tune"]["text_rise"] > 0.05
    assert found["twin"]["trained"] < found["tune"]["trained"]


def test_a_word_is_said_from_those_before_it_alone():
    torch.manual_seed(0)
    model, images, words = Captioner(4), torch.randn(2, 4), torch.randint(0, 24, (2, 12))
    other = words.clone()
    other[:, 5] = (other[:, 5] + 1) % 24
    apart = (model(images, words) - model(images, other)).abs().amax(dim=(0, 2)) > 0
    assert apart.nonzero().flatten().tolist() == [6, 7]


def test_weights_have_a_mean_of_one_and_rise_where_they_should():
    likely = torch.tensor([[0.9, 0.1] + [0.5] * 10])
    for weights in ("surprise", "own", "known", "image"):
        counts = CaptionWords(weights=weights).counts(likely)
        assert float(counts.mean()) == pytest.approx(1)
    assert CaptionWords(weights="surprise").counts(likely)[0, 1] == pytest.approx(9 * CaptionWords(weights="surprise").counts(likely)[0, 0])
    assert CaptionWords(weights="known").counts(likely)[0, 0] > CaptionWords(weights="known").counts(likely)[0, 1]
    assert CaptionWords(weights="image").counts(likely)[0].nonzero().flatten().tolist() == [3, 6]


def test_captions_tell_of_their_images():
    found = CaptionWords(steps=120, images=300).measure(80)
    assert found["attributes"] > 0.35 and found["bits"] < found["text_bits"]


def test_words_before_a_label_do_not_tell_it():
    attributes = np.array([[0, 1, 0, 0], [5, 2, 1, 3], [3, 0, 2, 1]])
    found = labelled(attributes)
    assert found[:, SHAPE].tolist() == [0, 5, 3] and (np.delete(found, SHAPE, axis=1) == 12).all()
    torch.manual_seed(0)
    model, images, words = Captioner(4), torch.zeros(3, 4), torch.from_numpy(found)
    assert torch.allclose(model(images, words)[0, SHAPE], model(images, words)[1, SHAPE]), "of the image alone"
