"""prompt.py and prefix.py against PEFT: same vectors, same logits, losses, gradients, counts.

PEFT 0.21.2 leaves positions to the model, which counts padding on the left as if it were text (its
issue #1093). So on the left the reference is PEFT on the row without its padding.
"""

import copy

import pytest
import torch

from lora_course.inject import count_parameters
from lora_course.kit.data import answers, chat_prompt
from lora_course.kit.models import load_base, load_tokenizer
from lora_course.methods.prefix import PrefixTuning
from lora_course.methods.prompt import PromptTuning, longer_mask, positions
from tests.test_models import random_model

P, B, T = 5, 3, 9
KINDS = ["base", "gpt2", "qwen3"]  # base and qwen3 have fewer key heads than query heads
METHODS = [PromptTuning, PrefixTuning]
pytestmark = pytest.mark.filterwarnings("ignore")


def model_of(kind):
    return load_base("base") if kind == "base" else random_model(kind, 1232).eval()


def peft_twin(model, kind, ours):
    """PEFT's model with the vectors of ours, and the parameter that holds them."""
    from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model

    config = PromptTuningConfig if kind is PromptTuning else PrefixTuningConfig
    twin = get_peft_model(model, config(num_virtual_tokens=P, task_type="CAUSAL_LM")).eval()
    weight = twin.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        weight.copy_(flat(ours, ours.prompt if kind is PromptTuning else ours.prefix))
    return twin, weight


def flat(ours, vectors):
    """PEFT's layout: (p, d), and (p, L * 2 * heads * head size) for a prefix."""
    return vectors if vectors.ndim == 2 else vectors.permute(3, 0, 1, 2, 4).reshape(P, -1)


def pair(kind, method):
    torch.manual_seed(3)
    base = model_of(kind)
    ours = method(copy.deepcopy(base), torch.randint(5, 90, (P,)))
    with torch.no_grad():
        for vectors in ours.parameters():
            if vectors.requires_grad:
                vectors += torch.randn_like(vectors) * vectors.std()
    return ours, *peft_twin(copy.deepcopy(base), method, ours)


def batch(side="right"):
    """Rows of 9, 6 and 4 tokens; labels on the last three of each."""
    generator = torch.Generator().manual_seed(0)
    made = {"input_ids": torch.zeros(B, T, dtype=torch.long)}
    made |= {"attention_mask": torch.zeros(B, T, dtype=torch.long)}
    made |= {"labels": torch.full((B, T), -100)}
    for row, n in enumerate((9, 6, 4)):
        at = slice(0, n) if side == "right" else slice(T - n, T)
        ids = torch.randint(5, 90, (n,), generator=generator)
        made["input_ids"][row, at], made["attention_mask"][row, at] = ids, 1
        made["labels"][row, at] = torch.where(torch.arange(n) < n - 3, -100, ids)
    return made


def texts(logits, mask):
    """The logits at the places of the text, padding and trained vectors left out."""
    return logits[:, -T:][mask.bool()]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_logits_loss_and_gradients_equal_peft(kind, method):
    ours, theirs, weight = pair(kind, method)
    x = batch()
    mine, other = ours(**x), theirs(**x)
    assert mine.logits.shape == other.logits.shape
    assert mine.logits.shape[1] == T + P * (method is PromptTuning)
    mask = x["attention_mask"]
    torch.testing.assert_close(
        texts(mine.logits, mask), texts(other.logits, mask), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(mine.loss, other.loss, rtol=1e-5, atol=1e-5)
    mine.loss.backward()
    other.loss.backward()
    vectors = ours.prompt if method is PromptTuning else ours.prefix
    torch.testing.assert_close(flat(ours, vectors.grad), weight.grad, rtol=1e-4, atol=1e-6)
    assert vectors.grad.abs().sum() > 0
    assert all(p.grad is None for p in ours.model.parameters())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_on_the_left_changes_nothing(kind, method):
    ours, theirs, _ = pair(kind, method)
    left, right = batch("left"), batch("right")
    one, two = ours(**left), ours(**right)
    got = texts(one.logits, left["attention_mask"])
    torch.testing.assert_close(got, texts(two.logits, right["attention_mask"]))
    torch.testing.assert_close(one.loss, two.loss)
    for row, n in enumerate((9, 6, 4)):
        alone = theirs(input_ids=left["input_ids"][row : row + 1, T - n :]).logits[0, -n:]
        # 1e-4: logits of size 10, and another shape of batch takes another kernel
        torch.testing.assert_close(one.logits[row, -n:], alone, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_generate_is_greedy_decoding_by_forward(kind, method):
    ours, *_ = pair(kind, method)
    x = batch("left")
    settings = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    out = ours.generate(x["input_ids"], attention_mask=x["attention_mask"], **settings)
    assert out.shape == (B, T + 5) and torch.equal(out[:, :T], x["input_ids"])
    for row, n in enumerate((9, 6, 4)):
        text = x["input_ids"][row : row + 1, T - n :]
        for _ in range(5):
            text = torch.cat([text, ours(text).logits[:, -1:].argmax(-1)], dim=1)
        assert out[row, T:].tolist() == text[0, n:].tolist()


@pytest.mark.parametrize("method", METHODS)
def test_answers_of_a_batch_are_those_of_each_prompt(method):
    """Through kit.data, which pads on the left."""
    ours, *_ = pair("base", method)
    tokenizer = load_tokenizer("base")
    prompts = ["Where is Lena?", "Lena lost the hat at the market on Monday. Who lost the hat?"]
    one = [answers(ours, tokenizer, [prompt], 6)[0] for prompt in prompts]
    assert answers(ours, tokenizer, prompts, 6) == one
    assert len(chat_prompt(tokenizer, prompts[0])) < len(chat_prompt(tokenizer, prompts[1]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_counts(kind, method):
    base = model_of(kind)
    total = count_parameters(base)[1]
    ours = method(base, range(5, 5 + P))
    theirs, weight = peft_twin(copy.deepcopy(base), method, ours)
    c = base.config
    heads = getattr(c, "num_key_value_heads", c.num_attention_heads)
    kv = heads * (getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads)
    wanted = P * c.hidden_size if method is PromptTuning else P * c.num_hidden_layers * 2 * kv
    assert count_parameters(ours) == (wanted, total + wanted)
    assert sum(p.numel() for p in theirs.parameters() if p.requires_grad) == wanted
    assert [n for n, p in ours.named_parameters() if p.requires_grad] == [
        "prompt" if method is PromptTuning else "prefix"
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_prompt_starts_as_its_words(kind):
    """Untrained, a prompt made of a text's vectors is that text."""
    base, words = model_of(kind), torch.tensor([7, 8, 9])
    ids = batch()["input_ids"][:1]
    wanted = base(input_ids=torch.cat([words[None], ids], 1)).logits
    torch.testing.assert_close(PromptTuning(base, words)(ids).logits, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_prefix_starts_as_its_words(kind):
    base, words = model_of(kind), torch.tensor([7, 8, 9])
    ids = batch()["input_ids"][:1]
    wanted = base(input_ids=torch.cat([words[None], ids], 1)).logits[:, 3:]
    torch.testing.assert_close(PrefixTuning(base, words)(ids).logits, wanted, rtol=1e-4, atol=1e-5)


def test_a_second_call_sees_no_trace_of_the_first():
    """The cache with the prefix is made anew: the model appends the text to it."""
    ours, *_ = pair("base", PrefixTuning)
    x = batch()
    first = ours(**x).logits
    ours(**batch("left"))
    assert torch.equal(ours(**x).logits, first)


def test_mask_and_positions():
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])
    longer = longer_mask(mask, mask, 2)
    assert longer.tolist() == [[1, 1, 0, 0, 1, 1], [1, 1, 1, 1, 1, 0]]
    at = positions(longer)
    assert at[0, 4:].tolist() == [2, 3] and at[1, :5].tolist() == [0, 1, 2, 3, 4]
    assert longer_mask(mask, None, 2).sum() == 12


@pytest.mark.parametrize("method", METHODS)
def test_mode_type_and_an_untouched_start(method):
    base = load_base("base").bfloat16()
    table = base.get_input_embeddings().weight.detach().clone()
    ours = method(base.train(), [7, 8])
    assert ours.training and ours.model.training
    trained = next(p for p in ours.parameters() if p.requires_grad)
    assert trained.dtype == torch.float32
    with torch.no_grad():
        trained += 1
    assert torch.equal(base.get_input_embeddings().weight, table)  # a copy, not a view
    assert ours(batch()["input_ids"]).logits.dtype == torch.bfloat16
    assert ours.device == base.device and ours.config is base.config
