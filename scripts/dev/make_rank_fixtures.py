"""Golden ids of the tokenizers that ship without a tokenizer.json, by the libraries that read them.

    /tmp/venv-hf/bin/python scripts/dev/make_rank_fixtures.py  # --many DIR for a released vocabulary and many texts, into DIR

tiktoken.model (Kimi) is read by tiktoken with the pattern of Moonshot's tokenization_kimi.py, tekken.json by mistral_common's
Tekkenizer. The vocabularies are trained here, on a few lines. mistral_common finds no special tokens in a text, so its texts
are cut at them first.
"""

import base64
import json
import pathlib
import random
import re
import sys

import mistral_common
import tiktoken
from make_template_fixtures import CORPUS, TEXTS
from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

FIXTURES = pathlib.Path(__file__).parents[2] / "data/tests/fixtures/tokenizers"
WORDS = r"[^\r\n\p{L}\p{N}]?[%s]*[%s]+%s|[^\r\n\p{L}\p{N}]?[%s]+[%s]*%s"


def words(but="", after=""):
    upper, lower = (r"\p{%s}\p{Lm}\p{Lo}\p{M}%s" % (case, but) for case in (r"Lu}\p{Lt", "Ll"))
    return WORDS % (upper, lower, after, upper, lower, after)


KIMI = "|".join([
    r"[\p{Han}]+", words(r"&&[^\p{Han}]", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"),
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
TEKKEN = "|".join([words(), r"\p{N}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])

LINES = CORPUS + [
    "今天天气很好，我们去公园吧。今天我们学习中文，天气很好。ABC中文abc英文DEF",
    "HelloWorld camelCase HTTPServer it's IT'S you're They'LL        indented\n        again\t\t\ttabs",
    "https://example.com/a/b/c ---- ==== ///// aaaa abab ababab 00001111 2024年12月31日",
]
# Tokens beside the trained ones: across the places where one of the patterns cuts, so that each cut shows in the ids, and
# pieces that no two tokens make, which only the lookup of a whole piece finds.
APART = ["文a", "C中", "气w", "1234", "12", "e1", "1a", "dT", "s天", "n't", "'sx", "/\n", "\n/", ".a", "\n ", "  x", "é中", " quixotry", "xyzzy", "🙂🙃", "y'L", "e\u0301", "!\n"]
MORE = TEXTS + [
    "今天天气很好", "天气weather天气 good好", "ABC中文abc", "々〇〆ヶ", "한국어 한국 العربية हिन्दी ไทย", "HelloWorldIT'SfineThey'LL'd", "'s'S'ſ", "ǅungla ʰa ªº",
    "Ⅷ ½ 一二三 ٣٤٥ 123456789", "    \n \n\n  x \r\n\r\n", "\t\t\t", "a" * 37, " " * 61, "ab" * 30 + "a", "e\u0301\u0302\u0327x", "\u200d\u200b\u00ad", "\x01\x02\x1b[0m\x7f",
    "🇩🇪👩‍👩‍👧🏽", "/////\n//", "!?…\n\n/x", "\ufffd\u2028\u2029\x85x", "𠀀𠀁漢字𝟘𝟙",
    *APART, " quixotry xyzzy xyzzyx", "x".join(APART), "中文a文aC中C中中 1234123412", "isn'tx it'sxx", "/\n/\n\n //\n", "fooBarT.a .a", "y  x   x", "é中é中", "They'LLy'Lx", "e\u0301e\u0301x", "!\n?!\n",
]
UNUSED = 20  # of the vocabulary of tekken.json
POOL = [
    "aaabbetho nirs", "ABEHT", "今天气很好我们中文", "0123４٣", " \t\n\r\u00a0\u3000", "'’.,:/-_=<|>[]()", "éñüЖд日本カナ한", "\u0301\u0327\u200d", "🙂👩🇩", "\x00\x1b\x7f", "ǅʰªⅧ½〇々",
]
PIECES = ["'s", "'LL", "the", "answer", " the", "  ", "天气", "\r\n", "12", "ababab"]


def texts(special):
    """The written texts, each special token somewhere in one, and seeded strings of characters that the pattern tells apart."""
    rnd = random.Random(7)
    pick = lambda: rnd.choice(PIECES + special) if rnd.random() < 0.2 else rnd.choice(rnd.choice(POOL))
    drawn = ["".join(pick() for _ in range(rnd.randint(1, 24))) for _ in range(60)]
    around = [f"the {name}answer{name}{name} 天{name[:-1]}" for name in special]
    return MORE + around + drawn


def trained(pattern, size):
    """Tokens by rank: what BPE training merges first is ranked first, after the bytes in their own order; `APART` before the last ones."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False))
    printable = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    byte = {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(b for b in range(256) if b not in printable)}
    made = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    merged = [bytes(byte[c] for c in token) for token, _ in made if len(token) > 1]
    apart = [token for token in map(str.encode, APART) if token not in merged]
    return [bytes([b]) for b in range(256)] + merged[:-UNUSED] + apart + merged[-UNUSED:]


def case(text, ids, decoded, skipped):
    """What decodes to the text itself has no key."""
    assert decoded == text, text
    return {"text": text, "ids": ids} | ({"skipped": skipped} if skipped != text else {})


def write(folder, cases, begin):
    expected = {"begin": begin, "cases": cases}
    (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(folder.name, len(cases), "cases,", sum(f.stat().st_size for f in folder.iterdir()) // 1024, "KiB")


def make_tiktoken():
    folder = FIXTURES / "tiktoken"
    folder.mkdir(exist_ok=True)
    tokens = trained(KIMI, 520)
    random.Random(1).shuffle(bytes_first := tokens[:256])  # As released: the bytes are not in their own order.
    tokens[:256] = bytes_first
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)]
    (folder / "tiktoken.model").write_text("".join(lines))
    first = len(tokens)
    names = {0: "[BOS]", 1: "[EOS]", 2: "<|im_end|>", 3: "<|im_user|>", 4: "<|im_assistant|>", 11: "<|tool_call_begin|>", 17: "<|im_middle|>", 254: "[UNK]", 255: "[PAD]"}
    decoder = {str(first + at): {"content": name, "special": at != 11} for at, name in names.items()}
    template = "{% for m in messages %}<|im_{{ m.role }}|>{{ m.role }}<|im_middle|>{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_assistant|>assistant<|im_middle|>{% endif %}"
    config = {"added_tokens_decoder": decoder, "bos_token": "[BOS]", "eos_token": "[EOS]", "unk_token": "[UNK]", "pad_token": "[PAD]",
              "chat_template": template, "tokenizer_class": "TikTokenTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    special = {names.get(at, f"<|reserved_token_{first + at}|>"): first + at for at in range(256)}
    # (Not by tiktoken's load_tiktoken_bpe, which keeps a copy of what a path once held.)
    ranks = {token: rank for rank, token in enumerate(tokens)}
    encoding = tiktoken.Encoding("kimi", pat_str=KIMI, mergeable_ranks=ranks, special_tokens=special)
    kept = first + 11
    cases = []
    for text in texts([*names.values(), f"<|reserved_token_{first + 9}|>"]):
        ids = encoding.encode(text, allowed_special="all")
        skipped = [id for id in ids if id < first or id == kept]
        cases.append(case(text, ids, encoding.decode(ids), encoding.decode(skipped)))
    write(folder, cases, [])


def make_tekken():
    folder = FIXTURES / "tekken"
    folder.mkdir(exist_ok=True)
    tokens = trained(TEKKEN, 500)
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[TOOL_CALLS]", "<pad>"]
    number = 12
    file = {
        "config": {"pattern": TEKKEN, "num_vocab_tokens": len(tokens), "default_vocab_size": len(tokens) - UNUSED + number,
                   "default_num_special_tokens": number, "version": "v13"},
        "vocab": [{"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None} for rank, token in enumerate(tokens)],
        "special_tokens": [{"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(names)],
    }
    (folder / "tekken.json").write_text(json.dumps(file, separators=(",", ":")) + "\n")
    tekken = Tekkenizer.from_file(folder / "tekken.json")
    special = {name: rank for rank, name in enumerate(names + [f"<SPECIAL_{rank}>" for rank in range(len(names), number)])}
    cut = re.compile("(" + "|".join(map(re.escape, special)) + ")")
    cases = []
    for text in texts(list(special)):
        parts = [[special[part]] if part in special else tekken.encode(part, bos=False, eos=False) for part in cut.split(text)]
        ids = sum(parts, [])
        cases.append(case(text, ids, tekken.decode(ids, SpecialTokenPolicy.KEEP), tekken.decode(ids, SpecialTokenPolicy.IGNORE)))
    write(folder, cases, tekken.encode("", bos=True, eos=False))


def drawn(rnd, strings, prose):
    """A text of one of five kinds: out of a file, of tokens, periodic, of characters that the patterns tell apart, of any characters."""
    kind, size = rnd.randrange(5), rnd.randint(1, 120)
    if kind == 0:
        return prose[(start := rnd.randrange(len(prose))):start + size]
    if kind == 1:
        return "".join(rnd.choice(strings) for _ in range(1 + size // 10))
    if kind == 2:
        letters = rnd.choice(["a", "ab", "tho", " ", "-=", "01", "天气", "\n "])
        return "".join(rnd.choice(letters) for _ in range(size)) if rnd.random() < 0.5 else (letters * size)[:size]
    if kind == 3:
        return "".join(rnd.choice(rnd.choice(POOL)) for _ in range(size))
    return "".join(chr(rnd.choice([rnd.randrange(0x3000), rnd.randrange(0xD800), rnd.randrange(0xE000, 0x110000)])) for _ in range(size))


def make_many(out):
    """The vocabulary that mistral_common ships, in both forms, and a hundred thousand seeded texts."""
    source = pathlib.Path(mistral_common.__file__).parent / "data/tekken_240911.json"
    tokens = [base64.b64decode(token["token_bytes"]) for token in json.loads(source.read_bytes())["vocab"]]
    for name in ["tekken", "tiktoken"]:
        (out / name).mkdir(parents=True, exist_ok=True)
    (out / "tekken/tekken.json").write_bytes(source.read_bytes())
    (out / "tiktoken/tiktoken.model").write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)))
    tekken = Tekkenizer.from_file(source)
    encoding = tiktoken.Encoding("kimi", pat_str=KIMI, mergeable_ranks={token: rank for rank, token in enumerate(tokens)}, special_tokens={})
    rnd, strings = random.Random(3), [token.decode() for token in tokens if "\ufffd" not in token.decode(errors="replace")]
    prose = "".join(path.read_text() for path in sorted((FIXTURES.parents[3] / "docs").glob("*.md")))
    # No special token stands in them: Tekkenizer finds none.
    all_texts = [drawn(rnd, strings, prose).replace("<", "(").replace("[", "(") for _ in range(100_000)]
    write(out / "tekken", [case(text, ids := tekken.encode(text, bos=False, eos=False), tekken.decode(ids), text) for text in all_texts], [tekken.bos_id])
    write(out / "tiktoken", [case(text, ids := encoding.encode_ordinary(text), encoding.decode(ids), text) for text in all_texts], [])


if __name__ == "__main__":
    if "--many" in sys.argv:
        make_many(pathlib.Path(sys.argv[sys.argv.index("--many") + 1]))
    else:
        make_tiktoken()
        make_tekken()
