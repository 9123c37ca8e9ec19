"""A byte-level BPE tokenizer of at most 300 entries for tests/fixtures/hf_tiny_v32, by the tokenizers library."""

import json

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, END = "<|pad|>", "<|end|>"
ROLES = ["<|system|>", "<|user|>", "<|assistant|>"]
VOCAB_SIZE = 300

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

CONVERSATION = [
    {"role": "system", "content": "Answer with a number."},
    {"role": "user", "content": "What is 12 + 345? It's 2³ × π – naïve 日本 🙂"},
]
TEXTS = [
    "12 + 345 = 357",
    "the answer is \\boxed{-7}\n",
    "def f(x):\n    return x * 2\n",
    "naïve 日本 🙂",
    "  two  spaces",
    "",
]


def corpus():
    """Words of the tasks, written out so that the merges depend on nothing outside this file."""
    yield from (
        f"What is the answer? The answer is {a} + {b} = {a + b}. So the result is \\boxed{{{a + b}}}.\n"
        for a in range(3, 40, 7)
        for b in range(2, 30, 9)
    )
    yield from (
        f"def function(x):\n    return x + {n}\nprint(function({n}))\nfor i in range({n}):\n    total = total + i\n"
        for n in range(20)
    )
    yield "Think step by step, then answer the question with a number. The word and the value are in the list."


def make_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    # Each digit by itself, so that arithmetic does not depend on how numbers happen to be merged.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in [PAD, END, *ROLES]],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    assert tokenizer.get_vocab_size() <= VOCAB_SIZE
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=ROLES,
        chat_template=CHAT_TEMPLATE,
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )


def check_tokenizer(folder):
    """Read the saved files again and note what they must give."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    expected = {"conversation": CONVERSATION}
    expected["rendered"] = tokenizer.apply_chat_template(CONVERSATION, tokenize=False, add_generation_prompt=True)
    expected["rendered_ids"] = tokenizer.encode(expected["rendered"], add_special_tokens=False)
    expected["texts"] = [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False)} for text in TEXTS]
    for case in expected["texts"]:
        assert tokenizer.decode(case["ids"]) == case["text"], case
    assert len(tokenizer.encode("12345", add_special_tokens=False)) == 5, "digits must stay single"
    for role in ROLES:
        assert len(tokenizer.encode(role, add_special_tokens=False)) == 1, role
    path = folder / "expected_tokens.json"
    path.write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
