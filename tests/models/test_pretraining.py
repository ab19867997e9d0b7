"""The pretraining objectives: what is hidden, what counts, and that each can be learned."""

from __future__ import annotations

import pytest
import torch

from backend.models.dual_stream import OBJECTIVES
from backend.models.dual_stream.pretraining import (
    Masking,
    PretrainingModel,
    exchanged,
    hide_words,
    look_the_same,
)
from tests.tiny import tiny_batch, tiny_model

MASK, SPECIAL, VOCABULARY = 4, (0, 2, 3, 4), 64
MASKING = Masking(MASK, SPECIAL, VOCABULARY)


def pretraining(objectives: tuple[str, ...] = OBJECTIVES, *layers: int) -> PretrainingModel:
    torch.manual_seed(0)
    return PretrainingModel(tiny_model(layers, layers), objectives, MASKING)


def test_hidden_words_are_real_words_in_the_shares_of_bert() -> None:
    torch.manual_seed(0)
    ids = torch.randint(5, VOCABULARY, (400, 50))
    ids[:, 0], ids[:, 30] = 2, 3
    mask = torch.ones_like(ids)
    mask[:, 40:] = 0
    new, chosen = hide_words(ids, mask, MASKING)
    assert not chosen[:, [0, 30]].any() and not chosen[:, 40:].any()
    assert (new == ids)[~chosen].all()
    share = chosen[:, 1:30].float().mean()
    assert abs(share - 0.15) < 0.01
    masked = (new[chosen] == MASK).float().mean()
    kept = (new[chosen] == ids[chosen]).float().mean()
    assert abs(masked - 0.8) < 0.02
    assert abs(kept - 0.1 - 0.1 / VOCABULARY) < 0.02


def test_exchanged_texts_are_those_of_other_samples_and_known_to_be() -> None:
    torch.manual_seed(0)
    ids = torch.arange(5, 55).repeat(2)[:, None].expand(100, 3)  # every text twice
    mask = torch.ones_like(ids)
    shares = []
    for _ in range(50):
        new, new_mask, together = exchanged(ids, mask, torch.arange(100.0)[:, None])
        assert sorted(new[:, 0].tolist()) == sorted(ids[:, 0].tolist())  # none lost, none doubled
        assert ((new == ids).all(dim=1) == together).all()
        assert (new_mask == 1).all()
        shares.append(float(together.float().mean()))
    assert abs(sum(shares) / 50 - 0.5) < 0.03


def test_a_text_exchanged_for_one_of_the_same_words_still_belongs() -> None:
    ids = torch.full((8, 3), 7)
    assert exchanged(ids, torch.ones_like(ids), torch.arange(8.0)[:, None])[2].all()


def test_another_text_of_the_same_image_still_belongs() -> None:
    """Five captions an image, in a row: neighbours must not be told apart from each other."""
    torch.manual_seed(0)
    ids = torch.arange(100)[:, None]
    image = torch.arange(20.0).repeat_interleave(5)[:, None, None]
    wrong = []
    for _ in range(20):
        new, _, together = exchanged(ids, torch.ones_like(ids), image)
        assert (together == (new[:, 0] // 5 == ids[:, 0] // 5)).all()
        wrong.append(float((~together).float().mean()))
    assert abs(sum(wrong) / 20 - 0.5 * 96 / 100) < 0.05  # partners are drawn from everywhere


def test_only_pairs_that_belong_together_count_for_the_masked_objectives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = pretraining()
    batch = tiny_batch(n=6)

    def none_belongs(
        ids: torch.Tensor, mask: torch.Tensor, _: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        return ids, mask, torch.zeros(len(ids), dtype=torch.bool)

    monkeypatch.setattr("backend.models.dual_stream.pretraining.exchanged", none_belongs)
    found = model(**batch)
    assert (found["mlm"].n, found["image"].n, found["alignment"].n) == (0, 0, 6)
    assert found["mlm"].loss == 0 and found["image"].loss == 0
    torch.stack([one.loss for one in found.values()]).sum().backward()  # a step can be made


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_alone_has_only_its_own_head_and_trains_both_streams(objective: str) -> None:
    model = pretraining((objective,), 2, 3)
    heads = {name.split(".")[0] for name, _ in model.named_parameters()} - {"fusion"}
    expected = {
        "mlm": {"word", "word_bias"},
        "alignment": {"alignment"},
        "image": {"hidden_patch", "said_patch", "true_patch"},
    }
    assert heads == expected[objective]
    torch.manual_seed(3)
    model(**tiny_batch(n=16))[objective].loss.backward()
    fusion = model.fusion
    for encoder in (fusion.text, fusion.vision):
        first = encoder.blocks[0].parameters()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in first)
    assert all(p.grad is not None for n, p in model.named_parameters() if "fusion" not in n)


def test_without_objectives_hidden_the_pass_is_the_models_own() -> None:
    """Alignment alone hides nothing: where no text moves, the CLS vectors are those of forward."""
    model = pretraining(("alignment",), 2)
    model.eval()
    batch = tiny_batch(n=1)  # a single sample cannot get another's text
    out = model.fusion(**batch)
    roles = model.fusion.text_roles(batch["input_ids"], batch["attention_mask"])
    logit = model.alignment(model.fusion.joined(out.text, out.vision, roles))[0, 0]
    found = model(**batch)["alignment"]
    assert torch.allclose(found.loss, torch.nn.functional.softplus(-logit))


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_patches_that_look_the_same_are_no_negatives_of_each_other(
    dtype: torch.dtype | None,
) -> None:
    """Nine plain patches and one other: whoever tells plain from other is always right."""
    model = pretraining(("image",))
    model.said_patch, model.true_patch = torch.nn.Identity(), torch.nn.Identity()
    torch.manual_seed(0)
    truth = torch.randn(2, 16)[[0] * 9 + [1]]
    with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        outcome = model._patches(truth, truth)
        plain = model._patches(torch.randn(8, 16), truth[:1].expand(8, 16))
    assert (int(outcome.right), outcome.n) == (10, 10)
    assert outcome.loss < 0.01
    assert plain.loss == 0  # nothing to be told apart from


def test_patches_that_differ_a_little_do_not_look_the_same() -> None:
    torch.manual_seed(0)
    patches = 5 + torch.randn(40, 16)  # what all have in common does not make them alike
    assert (look_the_same(patches) == torch.eye(40, dtype=torch.bool)).all()
    patches[1] = patches[0] + 1e-4
    assert look_the_same(patches)[0].nonzero()[:, 0].tolist() == [0, 1]


def learned(
    objective: str, layers: tuple[int, ...], steps: int, n: int, enough: float = 1.0
) -> float:
    """Share of right predictions on the very ``n`` pairs that were trained on, without dropout.

    Training ends before ``steps`` where the share is above ``enough``.
    """
    model = pretraining((objective,), *layers)
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(5, 60, (n, 6), generator=generator)
    ids[:, 0] = 2
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": torch.randn(n, 3, 16, 16, generator=generator),
    }
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, total_iters=steps)
    model.eval()
    for step in range(steps):
        if step % 25 == 0 and (share := right(model, batch, objective)) > enough:
            return share
        optimiser.zero_grad()
        model(**batch)[objective].loss.backward()
        optimiser.step()
        schedule.step()
    return right(model, batch, objective)


def right(model: PretrainingModel, batch: dict[str, torch.Tensor], objective: str) -> float:
    """The share over 30 draws of what is hidden or exchanged."""
    with torch.no_grad():
        outcomes = [model(**batch)[objective] for _ in range(30)]
    return sum(float(o.right) for o in outcomes) / max(1, sum(o.n for o in outcomes))


def test_alignment_is_learned_with_fusion_and_cannot_be_without() -> None:
    """A linear head on two CLS vectors that never met sees no pairs, only texts and images."""
    assert learned("alignment", (2, 3), 450, 8, enough=0.85) > 0.85
    assert learned("alignment", (), 100, 8) < 0.75


@pytest.mark.parametrize(("objective", "chance"), [("mlm", 1 / 55), ("image", 1 / 14)])
def test_what_is_hidden_is_learned_from_what_is_left(objective: str, chance: float) -> None:
    assert learned(objective, (2, 3), 150, 12, enough=6 * chance) > 6 * chance
