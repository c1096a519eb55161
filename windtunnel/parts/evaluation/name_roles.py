"""What a model's features say of the role of each name in Python code."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError, needing
from windtunnel.core.trial import Trial
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

ROWS = 32  # windows in one forward pass
WINDOWS = 4  # of one document at most


class NameRoles(Evaluation, name="name-roles"):
    """How often a linear probe tells from frozen features what a name does in Python code: token classification with free labels.

    A name is a keyword, defined, imported, a method, an attribute, called, an argument, assigned, or read. Several of these show only in
    what follows the name, so features that see both sides have the advantage, as they have in the encoders that
    Gisserot-Boukhlef et al. 2025, arXiv:2507.00994, compare with decoders. Features are the hidden states of all layers side by side at the
    first token of the name, so it does not matter which layer holds what. They see both sides unless the model was trained on next
    tokens; then they see what it saw in training. A multinomial logistic regression is fitted to names of training documents and judged on
    those of held-out ones. ``name-roles`` is the share right, ``name-roles/bits`` the bits per name, ``name-roles/commonest`` the
    share of the commonest role. It needs scikit-learn (the extra ``vision``).
    """

    trial = Trial({"names": 60, "test_names": 30})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"
    number: ClassVar[str] = "name-roles"
    by_objective: ClassVar[bool] = False

    names: int = Field(3000, ge=20, description="names that the probe is fitted to, of every source alike")
    test_names: int = Field(2000, ge=20, description="held-out names that it is judged on")
    strength: float = Field(0.1, gt=0, description="inverse of the penalty, on features of unit variance")

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The three numbers.

        Raises:
            PartError: where documents are no text, for an encoder-decoder, and where documents hold no names of Python code of two roles.
            UserError: where scikit-learn is missing.
        """
        import numpy as np

        from windtunnel.kits.text.encoded import vocabulary_of

        vocabulary_of(held_out, self.name)
        if model.config.is_encoder_decoder:
            raise PartError(f"{self.name}: needs a model of one stack, an encoder or a decoder")
        sides = []
        for split, most in (("train", self.names), (held_out.split, self.test_names)):
            if (key := (self, split)) not in held_out.made:
                held_out.made[key] = self._windows(held_out, split, most)
            windows, places, roles = held_out.made[key]
            sides.append((self._features(model, held_out, windows, places), roles))
        (features, roles), (others, wanted) = sides
        odds = _probe(features, roles, others, self.strength)
        return {
            self.name: float((odds.argmax(axis=1) == wanted).mean()),
            f"{self.name}/bits": float(-np.log2(np.maximum(odds[np.arange(len(wanted)), wanted], 1e-12)).mean()),
            f"{self.name}/commonest": float((wanted == np.bincount(roles).argmax()).mean()),
        }

    def _windows(self, held_out: HeldOut, split: str, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Token ids [windows, context], the places of names in them [names, 2], and their roles [names]."""
        import numpy as np

        from windtunnel.kits.text.encoded import text_of
        from windtunnel.kits.text.roles import names

        encoded, length = text_of(held_out.stream, self.name), held_out.context - 1
        windows: list[list[int]] = []
        places: list[tuple[int, int]] = []
        roles: list[int] = []
        for turn, source in enumerate(held_out.sources):
            enough = len(roles) + math.ceil((most - len(roles)) / (len(held_out.sources) - turn))  # of what is left, each its share
            for text in encoded.documents(split, source):
                if len(roles) >= enough:
                    break
                tokens = encoded.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
                ends = np.array([end for _, end in tokens["offset_mapping"]])
                named = names(text)
                at = np.searchsorted(ends, [name.begin for name in named], side="right")
                whole = len(ends) // length
                for window in np.unique(np.linspace(0, whole - 1, min(whole, WINDOWS)).astype(int)) if whole else ():
                    inside = [(place, name) for place, name in zip(at, named, strict=True) if place // length == window]
                    if not inside:
                        continue
                    places += [(len(windows), 1 + int(place) % length) for place, _ in inside]
                    roles += [name.role for _, name in inside]
                    windows.append([held_out.facts.document, *tokens["input_ids"][window * length : (window + 1) * length]])
        if len(set(roles)) < 2:
            raise PartError(f"{self.name}: the {split} documents have no two names of Python code in whole windows; give more code")
        return np.array(windows), np.array(places)[:most], np.array(roles)[:most]

    def _features(self, model: Any, held_out: HeldOut, windows: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Hidden states of all layers at ``places``, float64 [names, layers * width]."""
        import numpy as np
        import torch

        from windtunnel.data.held_out import entered
        from windtunnel.models.forward import forward
        from windtunnel.models.init import family_of

        causal = family_of(model.config).kind == "decoder" and isinstance(held_out.objective.measured_by(), NextToken)
        found = []
        for first in range(0, len(windows), ROWS):
            tokens = torch.as_tensor(windows[first : first + ROWS]).to(held_out.device)
            mine = places[(places[:, 0] >= first) & (places[:, 0] < first + ROWS)]
            with torch.no_grad(), entered(held_out.precision):
                layers = forward(model, tokens, causal=causal, needs=frozenset({"hidden_states"})).hidden_states
            states = torch.cat([layer.double().cpu() for layer in layers], dim=-1).numpy()
            found.append(states[mine[:, 0] - first, mine[:, 1]])
        return np.concatenate(found)


def _probe(features: np.ndarray, roles: np.ndarray, others: np.ndarray, strength: float) -> np.ndarray:
    """The probability of each role for ``others`` [N, width], from ``features`` [M, width] of ``roles``: [N, roles]."""
    import numpy as np

    from windtunnel.kits.text.roles import ROLES

    with needing("name-roles", "scikit-learn", "vision"):
        from sklearn.linear_model import LogisticRegression
    mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    model = LogisticRegression(C=strength, max_iter=300).fit((features - mean) / deviation, roles)
    odds = np.zeros((len(others), len(ROLES)))
    odds[:, model.classes_] = model.predict_proba((others - mean) / deviation)
    return odds
