"""The decision transformer, a decoder over returns, observations and actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from windtunnel.core.errors import UserError
from windtunnel.core.trial import Trial
from windtunnel.kits.trials import EPISODES
from windtunnel.parts.family.gpt2 import BLOCK, with_inner_size
from windtunnel.slots import Call, Family, Inputs, Places, Sizes

PLACES = Places(
    stacks={"encoder.h": BLOCK},
    embedding_norms=("embed_ln",),
    final=("encoder.ln_f",),
)
ENTRIES = 3  # of a step: a return, which is not used here, an observation, an action


class DecisionTransformer(Family, name="decision-transformer"):
    """A decoder of GPT-2's kind that reads a return, an observation and an action for every step and says the action of each.

    Chen et al. 2021, arXiv:2106.01345, without returns, which stay 0: what is learnt is to do as was done. Observations come as a number
    for every code of every place, so its first matrix is a table of what each code means where it is. A step is three positions.
    """

    trial = Trial(beside=EPISODES)

    kind: ClassVar[str] = "actor"
    reads: ClassVar[tuple[str, ...]] = ("states", "acted", "there")
    auto_class: ClassVar[str] = "AutoModel"
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "layers": ("n_layer",),
        "width": ("hidden_size",),
        "heads": ("n_head",),
        "intermediate": ("n_inner",),
    }

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family; of the episodes it asks ``facts`` for ``width`` (numbers of an observation), ``actions`` and ``steps``."""
        from transformers import DecisionTransformerConfig

        return DecisionTransformerConfig(
            state_dim=facts.width,
            act_dim=facts.actions,
            max_ep_len=facts.steps,
            n_positions=ENTRIES * facts.steps,
            hidden_size=sizes.width,
            n_layer=sizes.layers,
            n_head=sizes.heads,
            n_inner=sizes.intermediate,
            action_tanh=False,  # what it says are logits
            resid_pdrop=sizes.dropout,
            embd_pdrop=sizes.dropout,
            attn_pdrop=sizes.dropout,
            use_cache=False,
            bos_token_id=None,
            eos_token_id=None,
        )

    @classmethod
    def written(cls, config: Any) -> dict[str, Any]:
        """As for every family; an inner size that is left out means four times the width."""
        return with_inner_size(super().written(config))

    def model_class(self) -> Any:
        """As for every family."""
        from transformers import DecisionTransformerModel

        return DecisionTransformerModel

    def places(self, config: Any) -> Places:
        """As for every family."""
        return PLACES

    def forward(self, model: Any, arrays: Mapping[str, Any], call: Call) -> Any:
        """The outputs of ``model``, with ``logits`` [B, steps, actions], and where hidden states are kept ``features`` [B, steps, width].

        Args:
            model: a network of this family.
            arrays: ``states`` [B, steps, width], ``acted`` int64 [B, steps] (-1: not known), and ``there`` bool [B, steps].
            call: as for every family; a step sees itself and those before it.
        """
        import torch

        if "states" not in arrays:
            raise UserError(f"{self.name} needs observations; this objective gives none")
        states, acted = arrays["states"], arrays["acted"]
        known = torch.nn.functional.one_hot(acted.clamp(min=0), model.config.act_dim).to(states) * (acted >= 0)[..., None]
        times = torch.arange(states.shape[1], device=states.device).expand(acted.shape)
        mask = arrays["there"].long()
        mask[:, 0] = 1  # padding has to see something, or its softmax is empty
        outputs = model(
            states=states,
            actions=known,
            returns_to_go=states.new_zeros(*acted.shape, 1),
            timesteps=times,
            attention_mask=mask,
            **call.options,
        )
        outputs.logits = outputs.action_preds
        if outputs.hidden_states is not None:
            outputs.features = outputs.last_hidden_state[:, 1::ENTRIES].float()
        return outputs

    def inputs(self, facts: Any, context: int) -> Inputs:
        """As for every family: every window by itself, three positions a step."""
        return Inputs(context, ENTRIES * facts.steps)

    def rows(self, facts: Any) -> int:
        """Numbers of an observation, which are read and, unused here, written."""
        return int(facts.width)

    def parameters(self, sizes: Sizes, facts: Any) -> float:
        """As for every family; observations and actions are read by one matrix each and said by another."""
        return sizes.layers * self.block(sizes) + 2 * (facts.width + facts.actions) * sizes.width

    def flops(self, sizes: Sizes, facts: Any, reads: int, writes: int = 0) -> float:
        """As for every family; a third of the positions are observations."""
        ends = 6 * (facts.width * 4 / 3 + facts.actions * 2) * sizes.width / ENTRIES  # the state that it says gets no gradient
        return reads * (ends + 6 * sizes.layers * self.block(sizes) + 12 * sizes.layers * sizes.width * reads)
