"""What is written is counted as it was written, and leaves the draws of others alone."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from windtunnel.kits.text.generate import generated


def test_tokens_count_up_to_the_end_and_no_padding() -> None:
    def generate(tokens: torch.Tensor, **how: object) -> torch.Tensor:
        assert how["max_new_tokens"] == 4 and tokens.tolist() == [[0, 7], [8, 9], [0, 6]]
        torch.rand(3)
        return torch.cat([tokens, torch.tensor([[11, 0, 0, 0], [12, 13, 14, 15], [16, 17, 18, 0]])], dim=1)

    def decode(row: list[int], skip_special_tokens: bool) -> str:
        return " ".join(str(number) for number in row if number)

    model = SimpleNamespace(device=torch.device("cpu"), generate=generate)
    tokenizer = SimpleNamespace(eos_token_id=0, pad_token_id=None, decode=decode)
    before = torch.random.get_rng_state()
    texts, counts = generated(model, tokenizer, [[7], [8, 9], [6]], [4, 3, 2], temperature=0.7, seed=1)
    assert texts == ["11", "12 13 14", "16 17"] and counts == [2, 4, 4]
    assert torch.equal(before, torch.random.get_rng_state())
