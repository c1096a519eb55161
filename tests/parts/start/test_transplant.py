"""Another tokenizer for a trained model: tokens added, rows carried over, recipes of several tokenizers in one study, and crossovers."""

from __future__ import annotations

import json
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from families import KINDS

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.kits.text import tokenizer as tokenizers
from windtunnel.kits.text.encoded import KEPT
from windtunnel.kits.text.extend import extended
from windtunnel.kits.weights.embeddings import Mix, contextual, pieces, pursuit, shared, spellings, tables_of
from windtunnel.laws.crossover import crossover, curves
from windtunnel.models.anatomy import anatomy
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.recipe import Recipe, data_key, load_recipe, merge, needed, recipe_from, times
from windtunnel.slots import Encoding, Start, StartContext
from windtunnel.train.prepare import prepare, prepare_needed
from windtunnel.train.run import fly

CODE = ["def area(width, height):\n    return width * height\n", "for width in range(10):\n    print(width, self.height)\n"] * 20
PROSE = [
    "The wind tunnel shows what a wing is worth, the width of it too.\n",
    "Nobody knows the height of the tower; it is the wind.\n",
] * 20


def stream_of(tokenizer: Any, text: Any = ()) -> Any:
    """What a start sees of a stream of ``text``."""
    return SimpleNamespace(**{KEPT: SimpleNamespace(tokenizer=tokenizer, training_text=lambda sources: text)})


@pytest.fixture(scope="module")
def old() -> Any:
    """A tokenizer learnt from prose."""
    return tokenizers.train(PROSE, vocabulary=320, sentinels=4)


@pytest.fixture(scope="module")
def new() -> Any:
    """One learnt from code."""
    return tokenizers.train(CODE, vocabulary=320, sentinels=4)


@pytest.fixture(scope="module")
def longer(old: Any) -> Any:
    """That of prose with tokens of code added."""
    return extended(old, CODE, 20)


# Tokens that are added -----------------------------------------------------------------------------------------------------------


def test_added_tokens_are_used_and_old_ones_stay_what_they_are(old, longer, tmp_path):
    before, after = old.get_vocab(), longer.get_vocab()
    fresh_ones = set(after.values()) - set(before.values())
    assert len(fresh_ones) == 20 and min(fresh_ones) == len(before)
    assert all(after[token] == number for token, number in before.items())
    read, plain = tokenizers.encoder(longer), tokenizers.encoder(old)
    used = set()
    for text in CODE[:2] + PROSE[:2]:
        numbers = read.encode(text, add_special_tokens=False).ids
        assert longer.decode(numbers) == text
        used |= set(numbers) & fresh_ones
        assert len(numbers) <= len(plain.encode(text, add_special_tokens=False).ids)
    assert len(used) > 5
    words = [word for text in CODE[:2] + PROSE[:2] for word in text.split(" ")]
    untouched = [word for word in words if not set(read.encode(word).ids) & fresh_ones]
    assert untouched and all(read.encode(word).ids == plain.encode(word).ids for word in untouched)
    longer.save_pretrained(tmp_path)
    again = tokenizers.load(tmp_path, sentinels=4)
    assert again.get_vocab() == after and again.eos_token_id == old.eos_token_id


def test_added_tokens_come_behind_special_ones_that_were_added_before(old, tmp_path):
    old.save_pretrained(tmp_path)
    loaded = tokenizers.load(tmp_path, sentinels=9)
    assert len(loaded) == len(old) + 5
    more = extended(loaded, CODE, 7)
    assert all(more.get_vocab()[token] == number for token, number in loaded.get_vocab().items())
    assert sorted(set(more.get_vocab().values()) - set(loaded.get_vocab().values())) == list(range(len(loaded), len(loaded) + 7))
    assert tokenizers.describe(more, sentinels=9).spans == tokenizers.describe(loaded, sentinels=9).spans


def test_the_next_merges_are_those_that_training_would_make():
    """Continuing a BPE from the bytes on gives what learning it gives, as long as no two pairs are equally frequent."""
    text = ["aaaaab aaab aab ab abc abcd " * 3 + "zq zq wz " + "abcabc " * 7]
    base = tokenizers.train(["q"], vocabulary=400, sentinels=0)
    whole = tokenizers.train(text, vocabulary=len(base) + 4, sentinels=0)
    more = extended(base, text, 4)
    assert set(whole.get_vocab()) == set(more.get_vocab())


def test_a_tokenizer_that_is_no_bpe_is_not_extended(old):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    unigram = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram([("a", -1.0), ("<unk>", -2.0)], 1)))
    with pytest.raises(UserError, match="Unigram, and only a BPE can be extended"):
        extended(unigram, CODE, 5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"vocabulary": 3}, "greater than or equal to 400"),
        (
            {"folder": "x", "recipe": {"corpus": {"a": "x"}, "budget": {"steps": 2}, "phases": [{}]}},
            "from folder or from recipe, not from both",
        ),
    ],
)
def test_settings_that_contradict_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        make(Encoding, {"bpe": settings})


def test_only_a_tokenizer_that_is_there_can_be_extended(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("corpus: {a: x}\nbudget: {steps: 2}\ntokenizer:\n  extend: 5\n")
    with pytest.raises(UserError, match=r"recipe.yaml:3: tokenizer: extend adds to the tokenizer of a `folder` or of a `recipe`"):
        load_recipe(file)


def test_tokenizer_and_encoding_are_one_meaning_and_one_key():
    base = {"corpus": {"a": "x"}, "budget": {"steps": 2}}
    short = recipe_from({**base, "tokenizer": {"vocabulary": 512}})
    long = recipe_from({**base, "encoding": {"bpe": {"vocabulary": 512}}})
    assert short.identity() == long.identity() and data_key(short) == data_key(long) and "tokenizer" not in short.model_dump()
    spelt = ({}, {"encoding": "bpe"}, {"tokenizer": {}}, {"encoding": {"bpe": {"vocabulary": 4096}}})
    assert len({recipe_from({**base, **one}).identity() for one in spelt}) == 1
    with pytest.raises(ValueError, match=r"`tokenizer` is the short form of `encoding: \{bpe: \.\.\.\}`, which is written too"):
        recipe_from({**base, "encoding": "bpe", "tokenizer": {"vocabulary": 512}})
    # An arm that writes the one changes what the baseline wrote as the other: settings key by key, a part whole.
    knobs = {"vocabulary": 512, "sentinels": 3}
    for written in ({"tokenizer": knobs}, {"encoding": {"bpe": knobs}}):
        assert recipe_from(merge({**base, **written}, {"tokenizer": {"sentinels": 5}})).encoding == make(
            Encoding, {"bpe": {"vocabulary": 512, "sentinels": 5}}
        )
        assert recipe_from(merge({**base, **written}, {"encoding": {"bpe": {"sentinels": 5}}})).encoding == make(
            Encoding, {"bpe": {"sentinels": 5}}
        )


@pytest.mark.parametrize("written", ["tokenizer: {vocabulari: 512}", "encoding:\n  bpe:\n    vocabulari: 512"])
def test_a_misspelt_knob_is_told_where_it_is_written(tmp_path, written):
    file = tmp_path / "recipe.yaml"
    file.write_text(f"corpus: {{a: x}}\nbudget: {{steps: 2}}\n{written}\n")
    line, first = (3, "tokenizer") if written.startswith("tokenizer") else (5, "encoding")
    with pytest.raises(UserError, match=rf"recipe.yaml:{line}: {first}.*unknown key 'vocabulari'.*'vocabulary'"):
        load_recipe(file)


# Which tokens are the same --------------------------------------------------------------------------------------------------------


def sentencepiece() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = [word for text in PROSE for word in text.split(" ")]
    backend.train_from_iterator(words, trainers.BpeTrainer(vocab_size=400, special_tokens=names[:3], show_progress=False))
    definition = json.loads(backend.to_str())
    for name in names[3:]:
        definition["model"]["vocab"].setdefault(name, len(definition["model"]["vocab"]))
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(definition)), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def test_tokens_are_matched_by_text_and_special_ones_by_role(new):
    theirs = sentencepiece()
    same = shared(new, theirs, 10**6, len(new))
    ours, texts = spellings(new), spellings(theirs)
    assert same[new.eos_token_id] == theirs.eos_token_id
    assert same[new.mask_token_id] == -1
    matched = [number for number in range(len(new)) if same[number] >= 0 and ours[number] is not None]
    assert len(matched) > 20 and all(ours[number] == texts[int(same[number])] for number in matched)
    vocabulary = theirs.get_vocab()
    assert same[new.get_vocab()["t"]] == vocabulary["t"], "the letter, not the byte that stands in for it"
    assert same[new.get_vocab()["Ā"]] == vocabulary["<0x00>"]
    spaced = [number for number in matched if (ours[number] or b"").startswith(b" ") and len(ours[number] or b"") > 1]
    assert all(theirs.convert_ids_to_tokens(int(same[number])).startswith("▁") for number in spaced)
    assert (shared(new, theirs, 3, len(new)) < 3).all(), "tokens for which the model has no row do not count"


def test_pieces_spell_the_token(old, new):
    texts, theirs = spellings(new), spellings(old)
    numbers = list(range(len(new)))
    for number, read in zip(numbers, pieces(new, numbers, old, len(old)), strict=True):
        assert b"".join(theirs[piece] or b"" for piece in read) == (texts[number] or b"")
    spaced = sentencepiece()
    number = new.convert_tokens_to_ids("Ġwidth")
    (read,) = pieces(new, [number], spaced, 10**6)
    assert "".join(spaced.convert_ids_to_tokens(read)) == "▁width"


# Orthogonal matching pursuit ------------------------------------------------------------------------------------------------------


def restated(target: np.ndarray, atoms: np.ndarray, count: int) -> np.ndarray:
    """The coefficients by least squares, solved anew for each atom that is taken."""
    taken: list[int] = []
    share, left = np.zeros(0), target
    for _ in range(count):
        fits = np.abs(atoms @ left)
        fits[taken] = -1
        taken.append(int(fits.argmax()))
        share = np.linalg.lstsq(atoms[taken].T, target, rcond=None)[0]
        left = target - atoms[taken].T @ share
    whole = np.zeros(len(atoms))
    whole[taken] = share
    return whole


def dense(mix: Mix, size: int) -> torch.Tensor:
    found = torch.zeros(len(mix.rows), size, dtype=torch.float64)
    return found.scatter_add(1, mix.rows, mix.share)


@pytest.mark.parametrize("count", [1, 3, 8, 20])
def test_pursuit_is_what_least_squares_says(count):
    random = np.random.default_rng(count)
    atoms = random.normal(size=(60, 24)) * random.lognormal(size=(60, 1))
    targets = random.normal(size=(7, 24))
    found = dense(pursuit(torch.tensor(targets), torch.tensor(atoms), count), 60).numpy()
    for row, target in enumerate(targets):
        np.testing.assert_allclose(found[row], restated(target, atoms, count), rtol=1e-6, atol=1e-8)


def test_pursuit_recovers_what_is_a_combination_of_few_atoms():
    atoms = torch.nn.functional.normalize(torch.randn(100, 64, generator=torch.Generator().manual_seed(1)), dim=1)
    truth = torch.zeros(5, 100, dtype=torch.float64)
    for row in range(5):
        truth[row, torch.randperm(100, generator=torch.Generator().manual_seed(row))[:3]] = torch.tensor(
            [2.0, -1.5, 1.0], dtype=torch.float64
        )
    mix = pursuit(truth.float() @ atoms, atoms, 8)
    torch.testing.assert_close(dense(mix, 100), truth, rtol=0, atol=1e-5)
    table = torch.randn(100, 10, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(mix.of(table), truth.float() @ table, rtol=0, atol=1e-4)


def test_pursuit_stops_at_the_numerical_rank():
    """Atoms that only span 6 dimensions, as many asked for as there are: no coefficient blows up."""
    made = torch.Generator().manual_seed(0)
    atoms = torch.randn(50, 6, generator=made) @ torch.randn(6, 32, generator=made)
    targets = torch.randn(9, 32, generator=made)
    mix = pursuit(targets, atoms, 50)
    assert (mix.share != 0).sum(dim=1).max() <= 6 and mix.share.abs().max() < 1e3
    best = torch.linalg.lstsq(atoms.T.double(), targets.T.double(), rcond=1e-5, driver="gelsd").solution
    torch.testing.assert_close(dense(mix, 50) @ atoms.double(), (atoms.T.double() @ best).T, rtol=0, atol=1e-3)
    assert pursuit(torch.zeros(1, 32), atoms, 4).share.abs().sum() == 0
    assert pursuit(torch.zeros(0, 32), atoms, 4).of(atoms).shape == (0, 32)


# The start --------------------------------------------------------------------------------------------------------------------------


def model_of(family: str, tokenizer: Any, seed: int = 0, **settings: Any) -> Any:
    sizes = ModelSettings(**{"family": family, "depth": 2, "layers": 2, "width": 32, "heads": 2, **settings})
    return fresh(config_for(sizes, tokenizers.describe(tokenizer, sentinels=4), 32), seed)


def moved(source: Any, old: Any, new: Any, seed: int = 3, **knobs: Any) -> Any:
    """``source`` with tokenizer ``new``, by the start with ``knobs``; a donor is given as a model."""
    donor = knobs.pop("donor", None)
    text = knobs.pop("text", ())
    folders = {"source": {"folder": "x"}} | ({"donor": {"folder": "y"}} if donor is not None else {})
    start = make(Start, {"transplant": {**folders, **knobs}})
    config = type(source.config).from_dict(source.config.to_dict() | {"vocab_size": len(new)})
    models = {"source": source} | ({"donor": donor} if donor is not None else {})
    given = StartContext(models, stream_of(new, text), {"source": old, "donor": new})
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        model = start.build(None, config, seed, given)
    assert any("keep their rows" in str(warning.message) for warning in heard)
    return model


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", sorted(KINDS))
def test_every_family_keeps_shared_rows_and_all_other_weights(family, tied, old, new):
    if family == "t5" and not tied:
        return
    source = model_of(family, old, tied=tied)
    bias = tables_of(source).get("bias")
    if bias is not None:
        bias.data.normal_()
    model = moved(source, old, new, method="pieces")
    same = shared(new, old, len(old), len(new))
    read = pieces(new, list(range(len(new))), old, len(old))
    assert tables_of(model).keys() == tables_of(source).keys() and anatomy(model).tied == tied == anatomy(source).tied
    fresh_ones = [number for number in range(len(new)) if same[number] < 0]
    assert 5 < len(fresh_ones) < len(new) - 256
    for kind, table in tables_of(source).items():
        after = tables_of(model)[kind]
        assert torch.equal(after[same >= 0], table[same[same >= 0]])
        for number in fresh_ones:
            torch.testing.assert_close(after[number], table[read[number]].mean(dim=0))
    before, now = source.state_dict(), model.state_dict()
    assert before.keys() == now.keys()
    assert all(torch.equal(before[name], now[name]) for name in before if before[name].shape[0] != len(old))


def test_text_without_new_tokens_reads_as_before(old, longer):
    source = model_of("llama", old).eval()
    model = moved(source, old, longer, method="zero").eval()
    numbers = torch.tensor([tokenizers.encoder(old).encode("the w", add_special_tokens=False).ids])
    # A product with more columns may be added up in another order.
    torch.testing.assert_close(model(numbers).logits[..., : len(old)], source(numbers).logits)
    assert (model(numbers).logits[..., len(old) :] == 0).all()


def test_mean_and_random_rows(old, new):
    source = model_of("gpt2", old)
    same = shared(new, old, len(old), len(new))
    ordinary = [number for number, text in spellings(old).items() if text is not None]
    mean = tables_of(moved(source, old, new, method="mean"))["embedding"][same < 0]
    torch.testing.assert_close(mean, tables_of(source)["embedding"][ordinary].mean(dim=0).expand_as(mean))
    one, again, other = (tables_of(moved(source, old, new, seed, method="random"))["embedding"][same < 0] for seed in (3, 3, 4))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert 0.015 < float(one.detach().std()) < 0.025, "gpt2 draws its embeddings with a deviation of 0.02"


@pytest.mark.parametrize(("mine", "theirs"), [(True, True), (False, False), (False, True), (True, False)])
def test_omp_makes_the_combinations_that_the_donor_shows(mine, theirs, old, new):
    """The donor's new rows are set to combinations of shared ones; the base must get the same combinations of its own."""
    source, donor = model_of("llama", old, tied=mine), model_of("llama", new, 5, tied=theirs, width=64)
    same = shared(new, old, len(old), len(new))
    atoms = [number for number in range(len(new)) if same[number] >= 0 and spellings(new)[number] is not None][:60]
    fresh_ones = (same < 0).nonzero()[:, 0].tolist()
    made = torch.Generator().manual_seed(0)
    for table in tables_of(donor).values():
        table.data[:] = torch.randn(table.shape, generator=made)
        for place, number in enumerate(fresh_ones):
            table.data[number] = 3 * table[atoms[place]] - 2 * table[atoms[place + 1]]
    model = moved(source, old, new, method="omp", donor=donor, atoms=6)
    for kind, table in tables_of(source).items():
        for place, number in enumerate(fresh_ones):
            wanted = 3 * table[same[atoms[place]]] - 2 * table[same[atoms[place + 1]]]
            torch.testing.assert_close(tables_of(model)[kind][number], wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_contextual_rows_are_means_of_states(family, old, longer):
    """One document, one token looked at: its row points where the mean of the old pieces' states does, at the usual length."""
    source = model_of(family, old)
    text = "for width in range(2): print(1)\n"
    read = tokenizers.encoder(longer).encode(text, add_special_tokens=False)
    number = next(number for number in read.ids if number >= len(old))
    (spelled,) = pieces(longer, [number], old, len(old))
    numbers = tokenizers.encoder(old).encode(text, add_special_tokens=False).ids
    place = next(place for place in range(len(numbers)) if numbers[place : place + len(spelled)] == spelled)
    inner = source.get_encoder() if source.config.is_encoder_decoder else source.base_model
    with torch.no_grad():
        states = inner.eval()(torch.tensor([[old.eos_token_id, *numbers]]), output_hidden_states=True).hidden_states
    for layer in (1, 2):
        wanted = states[layer][0, place + 1 : place + 1 + len(spelled)].mean(dim=0)
        row = tables_of(moved(source, old, longer, method="contextual", layer=layer, text=[text]))["embedding"][number].detach()
        torch.testing.assert_close(row / row.norm(), wanted / wanted.norm(), rtol=0, atol=1e-4)
        ordinary = [number for number, spelling in spellings(old).items() if spelling is not None]
        torch.testing.assert_close(row.norm(), tables_of(source)["embedding"][ordinary].norm(dim=1).mean())
    still = tables_of(moved(source, old, longer, method="contextual", layer=0))["embedding"]
    torch.testing.assert_close(still, tables_of(moved(source, old, longer, method="pieces"))["embedding"])


def test_contextual_reads_no_more_than_it_is_told(old, longer):
    source = model_of("bert", old)
    fresh_ones = list(range(len(old), len(longer)))
    read: list[int] = []
    told = {"layer": -1, "tokens": 10**6, "window": 16, "counted": lambda tokens: read.append(tokens) or warnings.catch_warnings()}
    _, seen = contextual(source, old, longer, fresh_ones, CODE, occurrences=3, **told)
    assert int(seen.max()) == 3 and source.training
    whole = sum(read)
    read.clear()
    _, fewer = contextual(source, old, longer, fresh_ones, CODE, occurrences=3, **told | {"tokens": 20})
    assert sum(read) < 20 + 16 < whole and int(fewer.sum()) < int(seen.sum())
    with pytest.raises(PartError, match="none of the new tokens occurs"):
        moved(source, old, longer, method="contextual", text=["zzz"])


def test_what_a_transplant_cannot_do_is_refused(old, new):
    source = model_of("llama", old)
    with pytest.raises(PartError, match="number every token alike"):
        moved(source, old, old)
    with pytest.raises(PartError, match="layers, not 9"):
        moved(source, old, new, method="contextual", layer=9, text=CODE)
    with pytest.raises(PartError, match="donor does not know"):
        start = make(Start, {"transplant": {"source": {"folder": "x"}, "donor": {"folder": "y"}, "method": "omp"}})
        given = StartContext({"source": source, "donor": model_of("llama", old, 1)}, stream_of(new), {"source": old, "donor": old})
        start.build(None, type(source.config).from_dict(source.config.to_dict() | {"vocab_size": len(new)}), 0, given)
    with pytest.raises(ValueError, match="a donor is needed by method omp and used by no other"):
        make(Start, {"transplant": {"source": {"folder": "x"}, "method": "omp"}})
    with pytest.raises(PartError, match=r"width is 32 there and 64"):
        config = config_for(ModelSettings(family="llama", depth=2, layers=2, width=64, heads=2), tokenizers.describe(new, sentinels=4), 32)
        start = make(Start, {"transplant": {"source": {"folder": "x"}}})
        start.build(None, config, 0, StartContext({"source": source}, stream_of(new), {"source": old}))


# Recipes of several tokenizers --------------------------------------------------------------------------------------------------


OTHER = {"sources": ["prose"], "vocabulary": 420, "sentinels": 4}
BASE = {"recipe": {"budget": {"steps": 3}, "tokenizer": OTHER, "sources": ["prose"]}}


def recipe_as_written(tiny: Any, **fields: Any) -> Recipe:
    """A tiny recipe whose parts may hold recipes, as a file would write it."""
    plain = tiny().model_dump(mode="json")
    replaced = {"phases", "encoding"} if "tokenizer" in fields else {"phases"}
    base = {key: value for key, value in plain.items() if key not in replaced} | {
        "model": {"depth": 2, "layers": 2, "width": 32, "heads": 2},
        "context": 32,
        "batch": 4,
        "evaluations": ["bits-per-byte"],
        "budget": {"steps": 6},
    }
    return recipe_from(base | fields)


def test_a_recipe_takes_the_tokenizer_of_another(tiny):
    recipe = recipe_as_written(tiny, tokenizer={"recipe": BASE["recipe"], "extend": 30, "sources": ["code"]})
    assert recipe.encoding.reckoned().size == 450 and needed(recipe) == {}
    longer = recipe_as_written(tiny, tokenizer={"recipe": {**BASE["recipe"], "batch": 8}, "extend": 30, "sources": ["code"]})
    assert data_key(recipe) == data_key(longer) and recipe.identity() != longer.identity()
    assert data_key(times(recipe, 2.0)) == data_key(recipe)
    assert Recipe.model_validate(json.loads(recipe.model_dump_json())) == recipe
    with pytest.raises(ValueError, match="tokens are learnt from source 'prosa'"):
        recipe_as_written(tiny, tokenizer={"sources": ["prosa"]})


@pytest.fixture(scope="module")
def flown(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A recipe that begins from a model with a shorter tokenizer, prepared and flown."""
    folder = tmp_path_factory.mktemp("flown")
    start = {"transplant": {"method": "contextual", "tokens": 2000, "occurrences": 2, "source": BASE}}
    recipe = recipe_as_written(tiny, tokenizer={"recipe": BASE["recipe"], "extend": 30, "sources": ["code"], "sentinels": 4}, start=start)
    told: list[str] = []
    stream, others = prepare(recipe, folder / "cache"), prepare_needed(recipe, folder / "cache")
    record = fly(recipe, 0, stream, folder / "run", streams=others, warn=told.append)
    return {"folder": folder, "recipe": recipe, "stream": stream, "others": others, "record": record, "told": told}


def test_a_model_is_trained_on_its_own_stream_and_charged(flown):
    record, (other,) = flown["record"], flown["others"].values()
    assert record["status"] == "finished", record["traceback"]
    (run,) = (flown["folder"] / "run" / "needed").iterdir()
    assert run.name.endswith(other.fingerprint[:8]) and other.fingerprint != flown["stream"].fingerprint
    assert other.facts.size == 420 and flown["stream"].facts.size == 450
    assert record["totals"]["steps"] == 3 and record["charged"]["steps"] == 3
    (mine,) = record["needed"].values()
    assert mine["cursors"] == {}, "they count other tokens"
    assert any("420 of 450 tokens keep their rows, 30 are new (contextual)" in line for line in flown["told"])
    ahead = record["phases"][0]["ahead"]
    assert ahead["tokens"] > 0 and ahead["flops"] > 0
    theirs = json.loads((run / "record.json").read_text())
    assert record["totals"]["flops"] == pytest.approx(
        theirs["totals"]["flops"] + ahead["flops"] + 3 * record["phases"][0]["flops_per_step"]
    )
    assert record["validation"][0]["step"] == 0, "what the model is worth before it is trained"


def test_other_tokens_are_refused_where_they_would_be_taken_for_these(flown, tiny, tmp_path):
    recipe = flown["recipe"]
    for fields, part in (
        ({"losses": [{"distillation": {"teacher": BASE}}]}, "distillation.teacher"),
        ({"start": {"trained": {"model": BASE}}}, "trained.model"),
    ):
        other = recipe_as_written(tiny, encoding=recipe.encoding.model_dump(mode="json"), **fields)
        record = fly(other, 0, flown["stream"], tmp_path / part, streams=flown["others"])
        assert record["status"] == "failed" and f"{part}: this model is trained with another tokenizer" in record["error"]


def test_text_may_differ_where_tokens_agree(flown, tiny, tmp_path):
    """Curated documents make another stream; with the tokenizer of the model's recipe its tokens mean the same."""
    inner = {**BASE["recipe"], "curators": []}
    recipe = recipe_as_written(
        tiny,
        tokenizer={"recipe": inner, "sentinels": 4},
        curators={"length": {"shortest": 200}},
        start={"trained": {"model": {"recipe": inner}}},
    )
    stream, others = prepare(recipe, flown["folder"] / "cache"), prepare_needed(recipe, flown["folder"] / "cache")
    (other,) = others.values()
    same = stream.encoding.same_numbers
    assert same(stream, other) and same(other, stream) and stream.fingerprint != other.fingerprint
    assert not same(stream, flown["stream"])
    record = fly(recipe, 0, stream, tmp_path / "run", streams=others)
    assert record["status"] == "finished", record["traceback"]


def test_a_model_that_may_have_seen_the_test_documents_is_refused(flown, tiny, tmp_path):
    for change, says in (({"split": {"validation": 0.1, "test": 0.2}}, "another split"), ({"corpus": {}}, "lacks source 'code'")):
        inner = dict(BASE["recipe"])
        recipe = recipe_as_written(tiny, start={"transplant": {"source": {"recipe": inner | change}}})
        if change.get("corpus") is not None:  # a file merges corpora, so the source is taken away by hand
            data = recipe.model_dump(mode="json")
            del data["phases"][0]["start"]["transplant"]["source"]["recipe"]["corpus"]["code"]
            recipe = Recipe.model_validate(data)
        with pytest.raises(UserError, match=says):
            prepare_needed(recipe, tmp_path)


def test_a_study_prepares_every_stream_and_flies_each_model_once(flown, tiny, corpus):
    from windtunnel.study.file import study_from
    from windtunnel.study.fly import fly_study

    plain = {key: value for key, value in tiny().model_dump(mode="json").items() if key not in ("phases", "budget", "corpus", "encoding")}
    study = study_from(
        {
            "corpus": corpus,
            "budget": {"steps": 4},
            "seeds": 2,
            "curve": [1.0],
            "recipes": {"base": BASE["recipe"]},
            "baseline": {
                **plain,
                "model": {"depth": 2, "layers": 2, "width": 32, "heads": 2},
                "context": 32,
                "batch": 4,
                "tokenizer": {"vocabulary": 500, "sentinels": 4},
                "start": {"transplant": {"source": {"recipe": "base"}}},
            },
            "arms": {
                "zero": {"start": {"transplant": {"method": "zero", "source": {"recipe": "base"}}}},
                "own": {"tokenizer": OTHER, "start": {"trained": {"model": {"recipe": "base"}}}},
            },
        },
        name="tokens",
    )
    result = fly_study(study, flown["folder"] / "study", workers=1, quiet=True)
    assert result["finished"] and result["progress"]["failed"] == 0, [run["traceback"] for run in result["runs"]]
    assert len(list((flown["folder"] / "study" / "runs").iterdir())) == 6 + 2
    assert any("another tokenizer" in note for note in study.notes)


SMALL = {
    "model": {"depth": 2, "layers": 2, "width": 32, "heads": 2},
    "context": 32,
    "batch": 2,
    "evaluation_tokens": 64,
    "test_tokens": 64,
    "evaluate_every": 1.0,
    "precision": "float32",
    "compile": "no",
}


@pytest.mark.parametrize(
    ("name", "arms", "budgets"),
    [
        ("omp-transplant", ("omp-16", "own-tokenizer"), {"base": 3, "donor": 3, "omp-16": 7, "own-tokenizer": 4, "study": 4}),
        ("bioptimus", ("contextual", "pieces-now"), {"general": 3, "contextual": 5, "pieces-now": 4, "study": 5}),
        ("pubmedbert", ("continue-5", "extended-1", "scratch-5"), {"general": 3, "study": 6}),
    ],
)
def test_the_papers_fly_in_the_small(name, arms, budgets, flown, corpus, tmp_path):
    """Three steps where the file says a thousand; the text, models and vocabularies are tiny, everything else is the file's."""
    from windtunnel.study.file import study_from
    from windtunnel.study.papers import load_paper

    raw = load_paper(name).scales["cpu"]
    raw = json.loads(json.dumps(raw).replace('"share": 0.01', '"share": 0.3').replace('"share": 0.05', '"share": 0.6'))
    tokenizer = {**raw["baseline"]["tokenizer"], "vocabulary": 420} | ({"extend": 20} if "extend" in raw["baseline"]["tokenizer"] else {})
    family = raw["baseline"]["model"]["family"]
    raw |= {"corpus": corpus, "budget": {"steps": budgets["study"]}, "seeds": 1}
    raw["baseline"] |= {
        **SMALL,
        "tokenizer": tokenizer,
        "model": {**SMALL["model"], "family": family},
        "split": {"validation": 0.1, "test": 0.1},
    }
    raw["arms"] = {arm: raw["arms"][arm] for arm in arms}
    for places in (raw["recipes"], raw["arms"]):
        for key, recipe in places.items():
            recipe.pop("share", None)
            if key in budgets:
                recipe["budget"] = {"steps": budgets[key]}
    cache, told = flown["folder"] / "cache", []
    for arm, recipe in study_from(raw, name=name).resolved.items():
        stream, others = prepare(recipe, cache), prepare_needed(recipe, cache)
        record = fly(recipe, 0, stream, tmp_path / arm, streams=others, warn=told.append)
        assert record["status"] == "finished", f"{arm}: {record['traceback']}"
    assert any("tokens keep their rows" in line for line in told)


# Crossovers -----------------------------------------------------------------------------------------------------------------------


def lines(cross: float | None, seeds: int = 6) -> tuple[dict[int, dict[float, float]], dict[int, dict[float, float]]]:
    """Two ways whose losses cross at share ``cross`` (None: never), with a little noise."""
    random = np.random.default_rng(0)
    one: dict[int, dict[float, float]] = {}
    other: dict[int, dict[float, float]] = {}
    for seed in range(seeds):
        noise = random.normal(0, 0.01)
        other[seed] = {share: 2.0 for share in (0.05, 0.25, 1.0)}
        one[seed] = {share: 2.0 + noise + 0.2 * (np.log(cross / share) if cross else 1.0) for share in (0.05, 0.25, 1.0)}
    return one, other


def test_a_crossover_is_found_with_its_interval():
    found = crossover(*lines(0.4))
    assert found["outcome"] == "crosses" and found["crossover"]["value"] == pytest.approx(0.4, rel=0.1)
    assert found["crossover"]["low"] < 0.4 * 1.05 and found["crossover"]["high"] > 0.4 * 0.95
    flipped = crossover(*lines(0.4)[::-1])
    assert flipped["outcome"] == "one ahead and then behind" and flipped["crossover"]["value"] is None
    assert crossover(*lines(0.4)[::-1], better="higher")["outcome"] == "crosses"
    assert crossover(*lines(None))["outcome"] == "other always better"
    assert crossover(*lines(None)[::-1])["outcome"] == "one always better"
    with pytest.raises(UserError, match="two shares"):
        crossover({0: {1.0: 2.0}}, {0: {1.0: 2.0}})


def test_the_crossover_of_a_result_file(tmp_path, capsys, law):
    one, other = lines(0.4, 3)
    runs = [
        {
            "arm": f"{way}-{100 * share:g}",
            "multiple": 1.0,
            "seed": seed,
            "status": "finished",
            "test": {"bits": value, "bits/domain": value},
        }
        for way, found in (("scratch", one), ("continue", other))
        for seed, curve in found.items()
        for share, value in curve.items()
    ]
    file = tmp_path / "result.json"
    file.write_text(json.dumps({"format": 1, "study": {"metric": "bits", "better": "lower"}, "arms": {}, "runs": runs}))
    assert law("crossover", file, "scratch", "continue", "bits/domain") == 0
    assert json.loads(capsys.readouterr().out)["crossover"]["value"] == pytest.approx(0.4, rel=0.1)
    assert law("crossover", file, "scratsh", "continue") == 2
    assert "did you mean 'scratch'" in capsys.readouterr().err
    with pytest.raises(UserError, match="no run of scratch measured accuracy"):
        curves(json.loads(file.read_text()), "scratch", "accuracy")


def test_a_fraction_of_the_documents_is_part_of_every_larger_one(corpus, tmp_path):
    from windtunnel.data.corpus.prepare import prepare_corpus
    from windtunnel.recipe import shorthand
    from windtunnel.slots import Curator, Source

    sources = {name: make(Source, shorthand(path)) for name, path in corpus.items()}
    kept = []
    for share in (0.6, 0.3):
        curators = [make(Curator, {"fraction": {"share": share, "sources": "code"}})]
        found = prepare_corpus(sources, validation=0.1, test=0.1, near_duplicates=0.8, curators=curators, cache=tmp_path)
        kept.append({source: {text for batch in found.documents("train", source) for text in batch} for source in sources})
    assert kept[1]["code"] < kept[0]["code"] and kept[1]["prose"] == kept[0]["prose"]
