"""sight.py: a picture's vectors where the text holds IMAGE, everything else as without it."""

import torch
from torch import nn

from lora_course.inject import inject_lora
from lora_course.methods.sight import IMAGE, Sighted, aligned, insert_picture
from tests.small_llama import llama


def test_words_as_pictures_read_like_words():
    """With the vectors of tokens in the picture's place, the model says what it says of them."""
    model = llama()
    table = model.get_input_embeddings().weight
    ids = torch.randint(3, len(table), (2, 9), generator=torch.Generator().manual_seed(0))
    places = torch.tensor([[2, 3, 4], [0, 5, 8]])
    seen = table[ids.gather(1, places)].detach()
    holes = ids.scatter(1, places, IMAGE)
    mask = torch.ones_like(ids)
    sighted = Sighted(model, nn.Identity())
    got = sighted(holes, seen, mask, labels=ids)
    want = model(input_ids=ids, attention_mask=mask, labels=ids)
    torch.testing.assert_close(got.logits, want.logits, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(got.loss, want.loss)
    settings = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    new = sighted.generate(holes, seen, mask, **settings)
    whole = model.generate(input_ids=ids, attention_mask=mask, **settings)
    assert torch.equal(new, whole[:, 9:])


def test_projector_and_lora_train_and_the_base_does_not():
    model = inject_lora(llama(), r=2, seed=0)
    sighted = Sighted(model, nn.Linear(5, model.config.hidden_size))
    ids, labels = insert_picture([7, 8, 9], [-100, 8, 9], n=2, at=1)
    batch = torch.tensor([ids])
    states = torch.randn(1, 2, 5, requires_grad=True)
    loss = sighted(batch, states, torch.ones_like(batch), torch.tensor([labels])).loss
    loss.backward()
    assert sighted.projector.weight.grad.any() and states.grad.any()
    for name, p in model.named_parameters():
        assert (p.grad is not None) == (".lora_" in name), name


def test_insert_picture():
    ids, labels = [5, 6, 7], [-100, 6, 7]
    assert insert_picture(ids, labels, 2, 1) == (
        [5, IMAGE, IMAGE, 6, 7], [-100, -100, -100, 6, 7],
    )  # fmt: skip
    assert insert_picture(ids, labels, 1, 0)[0][0] == IMAGE
    assert insert_picture(ids, labels, 1, 3)[0][3] == IMAGE
    assert (ids, labels) == ([5, 6, 7], [-100, 6, 7])


def test_aligned_finds_a_linear_map():
    torch.manual_seed(0)
    truth = nn.Linear(6, 11)
    states = torch.randn(50, 6)
    found = aligned(states, truth(states).detach())
    torch.testing.assert_close(found.weight, truth.weight, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.bias, truth.bias, rtol=1e-4, atol=1e-4)
    assert found.weight.requires_grad
    noisy = torch.randn(50, 11)
    solved = aligned(states, noisy)
    rest = noisy - solved(states)
    ones = torch.cat([states, torch.ones(50, 1)], 1)
    assert (ones.T @ rest).abs().max() < 1e-3  # the normal equations
