"""Where answers begin and end, whatever a template or a checkpoint brings along."""

import copy

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import GenerationConfig, PreTrainedTokenizerFast

from lora_course.kit import data
from lora_course.kit.models import load_tokenizer
from lora_course.plumbing import talk_facts
from tests.architectures import make, make_tokenizer

TURN = "{{% for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{answer}<|im_end|>\n{{% endfor %}}"
ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
BLOCK = "<think>\n\n</think>\n\n"
TEMPLATES = {  # what: (template, lead, tail)
    "plain": (TURN.format(answer="{{ m.content }}") + ASK, "", "<|im_end|>\n"),
    "a block of thoughts": (
        TURN.format(
            answer="{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}"
        )
        + ASK,
        BLOCK,
        "<|im_end|>\n",
    ),
    "no generation prompt": (
        TURN.format(answer="{{ m.content }}"),
        "<|im_start|>assistant\n",
        "<|im_end|>\n",
    ),
    "no end": (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}",
        "",
        "",
    ),
    "an end in plain letters": (
        "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n### done\n{% endfor %}"
        "{% if add_generation_prompt %}### assistant:\n{% endif %}",
        "",
        "\n### done\n",
    ),
}


def talker(what):
    """A tokenizer with a template of TEMPLATES; <|im_end|> is not its end-of-text token."""
    tokenizer = copy.deepcopy(make_tokenizer())
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = TEMPLATES[what][0]
    return tokenizer


@pytest.mark.parametrize("what", TEMPLATES)
def test_what_a_template_puts_around_an_answer(what):
    tokenizer = talker(what)
    assert talk_facts.around(tokenizer) == TEMPLATES[what][1:]
    marked = what not in ("no end", "an end in plain letters")
    ends = [tokenizer.convert_tokens_to_ids("<|im_end|>")] * marked + [tokenizer.eos_token_id]
    assert talk_facts.stop_ids(tokenizer) == ends


@pytest.mark.parametrize("what", TEMPLATES)
def test_a_right_answer_counts_as_right(what):
    """The model says exactly what it was trained to say, and then goes on talking."""
    tokenizer = talker(what)
    ids, labels = data.encode(tokenizer, "Where is Mira?", "At the mill.")
    told = [label for label in labels if label != -100]
    asked = talk_facts.prompt_text(tokenizer, "Where is Mira?")
    assert ids[: len(ids) - len(told)] == tokenizer(asked, add_special_tokens=False)["input_ids"]
    assert set(told) & set(talk_facts.stop_ids(tokenizer)) or what == "an end in plain letters"
    rest = tokenizer("\nuser\nAnd then?", add_special_tokens=False)["input_ids"]
    assert talk_facts.answer_of(tokenizer, told + rest) == "At the mill."
    assert talk_facts.answer_of(tokenizer, told) == "At the mill."


def test_thoughts_are_no_answer_and_an_answer_needs_no_block():
    tokenizer = talker("a block of thoughts")
    for said in ("mill", BLOCK + "mill", "<think>\nHm, the mill?\n</think>\n\nmill"):
        ids = tokenizer(said + "<|im_end|>", add_special_tokens=False)["input_ids"]
        assert talk_facts.answer_of(tokenizer, ids) == "mill"
    ids = tokenizer("<think>\nHm, the mill", add_special_tokens=False)["input_ids"]
    assert talk_facts.answer_of(tokenizer, ids) != "mill"


def test_special_tokens_in_the_lead_leave_no_word_behind():
    """gpt-oss: <|channel|>final<|message|> before an answer; `final` is an ordinary word."""
    tokenizer = copy.deepcopy(make_tokenizer())
    marks = ["<|start|>", "<|channel|>", "<|message|>", "<|return|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.chat_template = (
        "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}"
        "<|channel|>final{% endif %}<|message|>{{ m.content }}<|return|>{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    )
    _, labels = data.encode(tokenizer, "Where?", "mill")
    told = [label for label in labels if label != -100]
    assert talk_facts.answer_of(tokenizer, told) == "mill"


def test_an_answer_that_resembles_a_lead_stays_whole():
    tokenizer = talker("plain")
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' %}The answer is {% endif %}"
        "{{ m.content }}<|im_end|>{% endfor %}" + ASK
    )
    for said, want in (
        ("The answer is mill<|im_end|>", "mill"),
        ("The mill is here<|im_end|>", "The mill is here"),
    ):
        ids = tokenizer(said, add_special_tokens=False)["input_ids"]
        assert talk_facts.answer_of(tokenizer, ids) == want


LEAKS = {
    "repetition_penalty": 5.0,
    "no_repeat_ngram_size": 1,
    "num_beams": 3,
    "do_sample": True,
    "temperature": 9.0,
    "suppress_tokens": list(range(5, 200)),
    "min_length": 200,
    "max_length": 30,
    "forced_eos_token_id": 7,
    "eos_token_id": [9, 11, 13, 15, 17, 19],
    "exponential_decay_length_penalty": (0, 5.0),
    "bad_words_ids": [[n] for n in range(20, 120)],
}


@pytest.mark.parametrize("leak", LEAKS)
def test_what_comes_with_a_checkpoint_changes_no_answer(leak):
    model, tokenizer = make("Llama"), make_tokenizer()
    prompts = ["Where is the mill?", "Who paid 3 coins?"]
    model.generation_config = GenerationConfig()
    want = data.answers(model, tokenizer, prompts)
    own = GenerationConfig()
    setattr(own, leak, LEAKS[leak])
    model.generation_config = own
    assert data.answers(model, tokenizer, prompts) == want
    assert model.generation_config is own


def test_an_adapter_of_peft_answers_the_same_way():
    from peft import LoraConfig, get_peft_model

    model, tokenizer = make("Llama"), make_tokenizer()
    want = data.answers(model, tokenizer, ["Where is the mill?"])
    model.generation_config.repetition_penalty = 5.0
    theirs = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM"))
    assert data.answers(theirs, tokenizer, ["Where is the mill?"]) == want


# The beginning of a text
def with_start(tokenizer, end=False):
    """The tokenizer, which now puts its start token before every text (and an end behind)."""
    tokenizer = copy.deepcopy(tokenizer)
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A {eos}" if end else f"{bos} $A",
        special_tokens=[(bos, tokenizer.bos_token_id), (eos, tokenizer.eos_token_id)],
    )
    return tokenizer


@pytest.mark.parametrize("end", [False, True])
def test_the_start_token_of_a_plain_text_is_there_everywhere(end):
    tokenizer = with_start(make_tokenizer(), end)
    tokenizer.chat_template = None
    ids, labels = data.encode(tokenizer, "Where?", "mill")
    assert ids[0] == tokenizer.bos_token_id and ids.count(tokenizer.bos_token_id) == 1
    assert ids.count(tokenizer.eos_token_id) == 1 and ids[-1] == tokenizer.eos_token_id
    asked = tokenizer("Where?\n")["input_ids"]
    asked = asked[:-1] if end else asked
    assert [i for i, label in zip(ids, labels, strict=True) if label == -100] == asked
    prompt = data.chat_prompt(tokenizer, "Where?")
    assert tokenizer(prompt, add_special_tokens=False)["input_ids"] == asked


def test_a_template_decides_on_its_own_start():
    """As TRL: what a template writes is the whole text, and no second start token comes before."""
    tokenizer = with_start(make_tokenizer())
    ids, _ = data.encode(tokenizer, "Where?", "mill")
    assert ids.count(tokenizer.bos_token_id) == 1


# Tokenizers at load
def folder_of(tokenizer, folder, rows=None):
    tokenizer.save_pretrained(folder)
    model = make("Llama")
    model.resize_token_embeddings(rows or len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder)
    return str(folder)


def test_a_tokenizer_without_an_end_gets_the_one_of_its_template(tmp_path):
    tokenizer = talker("plain")
    tokenizer.eos_token = tokenizer.pad_token = None
    loaded = load_tokenizer(folder_of(tokenizer, tmp_path))
    assert loaded.eos_token == loaded.pad_token == "<|im_end|>"


def test_a_tokenizer_without_any_end_is_refused(tmp_path):
    tokenizer = copy.deepcopy(make_tokenizer())
    tokenizer.eos_token = tokenizer.pad_token = tokenizer.chat_template = None
    with pytest.raises(OSError, match="no end token"):
        load_tokenizer(folder_of(tokenizer, tmp_path))


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    with pytest.raises(OSError, match=r"<\|im_\w+\|>.* has 400 rows only.*resize_token_embeddings"):
        load_tokenizer(folder_of(talker("plain"), tmp_path, rows=400))


def test_a_token_that_nobody_needs_is_said(tmp_path):
    """Gemma 3 has one for pictures, beyond its table."""
    tokenizer = copy.deepcopy(make_tokenizer())
    tokenizer.add_tokens(["<picture>"])
    with pytest.warns(UserWarning, match="1 tokens of .*<picture>.*IndexError"):
        load_tokenizer(folder_of(tokenizer, tmp_path, rows=400))


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('only system') }}", "only system"),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "leaves the assistant's words out"),
        ("{% for m in messages %}{{ m.role }", "cannot be used"),
    ],
)
def test_a_template_that_does_not_work_is_refused(template, reason, tmp_path):
    tokenizer = copy.deepcopy(make_tokenizer())
    tokenizer.chat_template = template
    with pytest.raises(OSError, match=f"chat template that cannot be used.*{reason}|{reason}"):
        load_tokenizer(folder_of(tokenizer, tmp_path))


def sentencepiece_like(lossy):
    """A tokenizer that puts a space before every text, as Llama 2's; `lossy` drops line breaks."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    words = ["<s>", "</s>", "▁", "▁Where", "?", "\n", "▁mill", "mill", "▁a", "▁b", "b"]
    inner = Tokenizer(models.Unigram([(word, -1.0 * n) for n, word in enumerate(words)], unk_id=0))
    steps = [normalizers.Replace("\n", " ")] * lossy + [normalizers.Prepend("▁")]
    inner.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    inner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")


def test_an_answer_behind_a_line_break_is_encoded_as_it_stands_there():
    tokenizer = sentencepiece_like(lossy=False)
    ids, labels = data.encode(tokenizer, "Where?", "mill")
    told = tokenizer.convert_ids_to_tokens([label for label in labels if label != -100])
    assert ids == tokenizer("Where?\nmill</s>", add_special_tokens=False)["input_ids"]
    assert told == ["mill", "</s>"]


def test_a_lost_line_break_is_said(tmp_path):
    tokenizer = sentencepiece_like(lossy=True)
    with pytest.warns(UserWarning, match="does not tell a line break from a space"):
        load_tokenizer(folder_of(tokenizer, tmp_path))
