"""Golden texts of chat templates and golden ids of tokenizers, by transformers.

    /tmp/venv-hf/bin/python scripts/dev/make_template_fixtures.py  # tokenizers too with --tokenizers

The templates (data/tests/fixtures/templates/*.jinja) are Temper's own. They use what the templates of released models use,
and none of their text. The tokenizers are trained here, on a few lines, with the settings of released ones.
"""

import datetime as real_datetime
import json
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, tokenization_utils_base
from transformers.utils import chat_template_utils

FIXTURES = pathlib.Path(__file__).parents[2] / "data/tests/fixtures"
CLOCK = 1_735_689_599  # 31 Dec 2024, 23:59:59 UTC

TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "Weather of a \"place\" <now> & später",
     "parameters": {"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer", "default": 1.0}}, "required": ["place"]}}},
    {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}, "return": {"type": "number"}}},
]


# A tokenizer of bytes, for the text alone.
PLAIN = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])),
    bos_token="<s>", eos_token="</s>")
PLAIN.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def call(name, arguments, id="abcdefghi"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def turn(role, content, **rest):
    return {"role": role, "content": content, **rest}


CONVERSATIONS = {
    "plain": {"messages": [turn("user", "Hello there, friend\nhow are you? ")]},
    "system": {"messages": [turn("system", " Be brief. "), turn("user", "1+1?"), turn("assistant", "2"), turn("user", "2+2? <b>&amp;")]},
    "unicode": {"messages": [turn("user", "naïve 日本語 🙂 ｜ 'é' \u2028 \\ \"q\""), turn("assistant", "Привет – 你好"), turn("user", "{{ x }} {% y %}")]},
    "thoughts in text": {"messages": [turn("user", "a"), turn("assistant", "<think>\nhm\n</think>\n\nb"), turn("user", "c"), turn("assistant", "<think>\nso\n</think>\n\nd")]},
    "thoughts": {"messages": [turn("user", "a"), turn("assistant", "b", reasoning_content="one"), turn("user", "c"), turn("assistant", "d", reasoning="two")]},
    "one call": {"tools": TOOLS, "messages": [turn("system", "S"), turn("user", "Weather?"),
        turn("assistant", None, tool_calls=[call("weather", {"place": "Zürich", "days": 2})], reasoning_content="look it up"),
        turn("tool", "sunny <20°>", tool_call_id="abcdefghi", name="weather"), turn("assistant", "Sunny.")]},
    "calls as text": {"tools": TOOLS, "messages": [turn("user", "Both"),
        turn("assistant", "ok", tool_calls=[call("weather", "{\"place\":  \"Rom\"}"), call("add", {"a": [1, 2.5, None, True]}, "123456789")]),
        turn("tool", "1", tool_call_id="abcdefghi"), turn("tool", "2", tool_call_id="123456789"), turn("user", "and?")]},
    "tools, no call": {"tools": TOOLS, "messages": [turn("user", "no need")]},
    "nulls": {"tools": TOOLS, "messages": [turn("user", "Both", name=None),
        turn("assistant", None, tool_calls=[call("add", {"a": None})], reasoning_content=None),
        turn("tool", "1", tool_call_id="abcdefghi", tool_calls=None), turn("assistant", "1.", tool_calls=None), turn("user", "and?")]},
    "parts": {"messages": [turn("user", [{"type": "text", "text": "part one"}, {"type": "text", "text": ", two"}])]},
    "not alternating": {"messages": [turn("user", "a"), turn("user", "b")]},
    "strange role": {"messages": [turn("user", "a"), turn("narrator", "b")]},
    "variables": {"messages": [turn("user", "a")], "variables": {"enable_thinking": False, "date_string": "26 Jul 2024", "builtin_tools": ["code", "search"]}},
    "system tools outside": {"tools": TOOLS[:1], "messages": [turn("system", "S"), turn("user", "a")], "variables": {"tools_in_user_message": False}},
    "documents": {"messages": [turn("user", "a")], "documents": [{"title": "t", "text": "x"}]},
}
CONTINUED = {
    "open answer": [turn("user", "a"), turn("assistant", "It begins ")],
    "open answer, trimmed": [turn("user", "a"), turn("assistant", "  It begins\n")],
    "open question": [turn("user", "to be contin")],
}


class Clock(real_datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(CLOCK, real_datetime.timezone.utc)


class Rendered(list):
    """What render_jinja_template gave to apply_chat_template, which keeps only the text, or only the tokens."""

    inner = staticmethod(tokenization_utils_base.render_jinja_template)

    def __call__(self, *arguments, **how):
        self[:] = [self.inner(*arguments, **how)]
        return self[0]


RENDERED = tokenization_utils_base.render_jinja_template = Rendered()


def render(template, case, **how):
    kwargs = {**case.get("variables", {}), **how}
    try:
        PLAIN.apply_chat_template(
            case["messages"], tools=case.get("tools"), documents=case.get("documents"), chat_template=template, **kwargs)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    [(texts, spans)] = RENDERED
    return {"text": texts[0]} | ({"spans": spans[0]} if spans else {})


def make_templates():
    chat_template_utils.datetime = Clock
    cases, count = [], 0
    for path in sorted((FIXTURES / "templates").glob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        for name, case in CONVERSATIONS.items():
            for prompt in (False, True):
                cases.append({"template": path.stem, "case": name, "generation_prompt": prompt, **render(template, case, add_generation_prompt=prompt)})
            if "generation %}" in template:
                cases.append({"template": path.stem, "case": name, "marked": True, **render(template, case, return_assistant_tokens_mask=True)})
        for name, messages in CONTINUED.items() if path.stem not in ("methods", "python") else ():
            # (Those change or repeat the text, and with it the mark by which the end of the turn is found.)
            cases.append({"template": path.stem, "case": name, "continued": True, **render(template, {"messages": messages}, continue_final_message=True)})
    conversations = CONVERSATIONS | {name: {"messages": messages} for name, messages in CONTINUED.items()}
    out = {"clock": CLOCK, "conversations": conversations, "cases": cases}
    (FIXTURES / "templates/expected.json").write_text(json.dumps(out, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    failed = [case for case in cases if "error" in case]
    print(len(cases), "cases,", len(failed), "of them errors")
    for case in failed:
        print(" ", case["template"], case["case"], case["error"][:100])


CORPUS = [
    "The answer is 12 + 345 = 357. The question and the answer are in the list.",
    "def function(x):\n    return x + 1\n\n\nprint(function(2024))  # don't we'll I'm\r\n",
    "naïve café 日本語 日本 日本語です 🙂🙂 Привет мир привет мир ñandú €100 1234567 １２",
    "<tag attribute=\"value\">text</tag> the the the and and and answer answer",
]
TEXTS = [
    "", " ", "a", "The answer is 357.", "  two  spaces\n\n\nand lines\r\n\tend  ", "don't we'll I'M HE'S", "1234567 + 89 = １２３",
    "naïve cafe\u0301 日本語です🙂👩‍👩‍👧 Привет", "<s>the</s>", "a <|im_start|> b<|im_end|>c", "x<mask> y <mask>z", "the<lower>The <LOWER>",
    "word<single>word <single> word", "\u2581already ▁ there", "\x00\x7f\ufeff\u200b", "<unk><pad>", "ꙮ𝔘𝔫 𐍈", "answer\u00a0the\u3000answer", "…—“quotes” ﬁ",
]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>"]
QWEN_SPLIT = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
LLAMA_SPLIT = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
BYTES = [f"<0x{b:02X}>" for b in range(256)]


def trained(tokenizer, trainer):
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def byte_level(split, size=330, digits=False, normalizer=None, cjk=False):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    parts = [pre_tokenizers.Split(Regex(split), "isolated")]
    if cjk:
        parts = [pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"), pre_tokenizers.Split(Regex("[一-龥぀-ゟ゠-ヿ]+"), "isolated")] + parts
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*parts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return trained(tokenizer, trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))


def sentencepiece_bpe(metaspace):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    trained(tokenizer, trainers.BpeTrainer(vocab_size=360, special_tokens=SPECIAL + BYTES, limit_alphabet=40, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    trained(tokenizer, trainers.UnigramTrainer(vocab_size=160, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))])
    return tokenizer


def word_level():
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return trained(tokenizer, trainers.WordLevelTrainer(vocab_size=60, special_tokens=SPECIAL, show_progress=False))


TOKENIZERS = {
    "bytes_nfc": lambda: byte_level(QWEN_SPLIT, normalizer=normalizers.NFC()),
    "bytes_digits3": lambda: byte_level(LLAMA_SPLIT),
    "bytes_cjk": lambda: byte_level(r"\s?[\p{L}\p{M}]+|\s?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+", cjk=True),
    "sentencepiece_prepend": lambda: sentencepiece_bpe(False),
    "sentencepiece_metaspace": lambda: sentencepiece_bpe(True),
    "unigram": unigram,
    "words": word_level,
}
ADDED = [
    AddedToken("<mask>", lstrip=True, rstrip=False, normalized=False, special=True),
    AddedToken("<right>", lstrip=False, rstrip=True, normalized=False, special=True),
    AddedToken("<lower>", normalized=True, special=False),
    AddedToken("<single>", single_word=True, normalized=False, special=False),
]
GENERATION = [turn("system", "Be brief."), turn("user", "The answer?"), turn("assistant", "naïve 日本🙂 357."), turn("user", "and?"), turn("assistant", "the end")]


def make_tokenizers():
    template = (FIXTURES / "templates/generation.jinja").read_text(encoding="utf-8")
    for name, make in TOKENIZERS.items():
        folder = FIXTURES / "tokenizers" / name
        made = PreTrainedTokenizerFast(tokenizer_object=make(), bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
                                       chat_template=template, clean_up_tokenization_spaces=False)
        made.add_tokens(ADDED)
        made.save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        # One line a file: these are fixtures, not reading matter.
        path = folder / "tokenizer.json"
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")), ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
        cases = []
        for text in TEXTS:
            ids = tokenizer.encode(text, add_special_tokens=False)
            cases.append({
                "text": text, "ids": ids, "special": tokenizer.encode(text),
                "decoded": tokenizer.decode(ids, clean_up_tokenization_spaces=False),
                "skipped": tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
            })
        marked = tokenizer.apply_chat_template(GENERATION, return_dict=True, return_assistant_tokens_mask=True)
        expected = {"cases": cases, "conversation": GENERATION, "ids": marked["input_ids"], "mask": marked["assistant_masks"]}
        (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
        print(name, len(tokenizer), "tokens,", sum(f.stat().st_size for f in folder.iterdir()) // 1024, "KiB")


if __name__ == "__main__":
    make_templates()
    if "--tokenizers" in sys.argv:
        make_tokenizers()
