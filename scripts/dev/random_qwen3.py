#!/usr/bin/env python3
"""Writes a checkpoint of a Qwen3's true shape with random weights, for runs of that size without a network.

    python3 scripts/dev/random_qwen3.py OUT [--size 0.6b|1.7b] [--seed N]

OUT gets `config.json` as the released model has it, `model.safetensors` in bf16, and a tokenizer of 151,646 entries: the bytes, made-up words,
and three special tokens, so that whatever the model samples is text and prompts are one token a byte. One word in 256 ends in a full stop.
Needs only the standard library.
"""

import argparse
import json
import random
import struct
from pathlib import Path

SIZES = {"0.6b": (1024, 3072), "1.7b": (2048, 6144)}
LAYERS, HEADS, KEY_HEADS, WIDTH, VOCABULARY, WORDS = 28, 16, 8, 128, 151936, 151643
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
ONE = 0x3F80
# Signs and mantissas of bf16 numbers are random, their exponent is that of 2^-6: between 0.016 and 0.031, a deviation of 0.024.
RANDOM_BITS, EXPONENT = 0x807F, 121 << 7


def config(hidden, intermediate):
    return {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": False, "hidden_act": "silu",
        "hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS, "head_dim": WIDTH, "max_position_embeddings": 40960, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000, "rope_scaling": None, "sliding_window": None, "use_sliding_window": False,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "vocab_size": VOCABULARY,
        "bos_token_id": WORDS, "eos_token_id": WORDS + 2,
    }


def shapes(hidden, intermediate):
    yield "model.embed_tokens.weight", [VOCABULARY, hidden]
    for layer in range(LAYERS):
        of_layer = {
            "input_layernorm": [hidden], "post_attention_layernorm": [hidden],
            "self_attn.q_proj": [HEADS * WIDTH, hidden], "self_attn.k_proj": [KEY_HEADS * WIDTH, hidden],
            "self_attn.v_proj": [KEY_HEADS * WIDTH, hidden], "self_attn.o_proj": [hidden, HEADS * WIDTH],
            "self_attn.q_norm": [WIDTH], "self_attn.k_norm": [WIDTH],
            "mlp.gate_proj": [intermediate, hidden], "mlp.up_proj": [intermediate, hidden], "mlp.down_proj": [hidden, intermediate],
        }
        yield from ((f"model.layers.{layer}.{name}.weight", shape) for name, shape in of_layer.items())
    yield "model.norm.weight", [hidden]


def count(shape):
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


def numbers(rng, shape):
    """A norm is 1; a matrix is random, a block of rows at a time."""
    if len(shape) == 1:
        yield struct.pack("<H", ONE) * shape[0]
        return
    block = 1 << 22
    repeated = [int.from_bytes(struct.pack("<H", word) * block, "little") for word in (RANDOM_BITS, EXPONENT)]
    left = count(shape)
    while left > 0:
        bits = int.from_bytes(rng.randbytes(2 * block), "little") & repeated[0] | repeated[1]
        yield bits.to_bytes(2 * block, "little")[: 2 * left]
        left -= block


def write_weights(path, sizes, seed):
    header, at = {}, 0
    for name, shape in shapes(*sizes):
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + 2 * count(shape)]}
        at += 2 * count(shape)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes(*sizes):
            for part in numbers(random.Random(f"{seed} {name}"), shape):
                file.write(part)


def word(number):
    letters = ""
    while number:
        number, letter = divmod(number, 26)
        letters += chr(ord("a") + letter)
    return letters


def byte_letters():
    """The character that stands for each byte in a byte-level vocabulary: itself where it is printable, one from 256 on otherwise."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b if b in own else next(others)) for b in range(256)]


def tokenizer():
    letters = byte_letters()
    space = letters[ord(" ")]
    entries = letters + [f"{space}{word(i)}{'.' if i % 256 == 0 else ''}" for i in range(256, WORDS)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
        "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": {e: i for i, e in enumerate(entries)}, "merges": [],
    }
    added = [{"id": WORDS + i, "content": content, **flags} for i, content in enumerate(SPECIAL)]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None, "pre_tokenizer": byte_level,
        "post_processor": None, "decoder": byte_level, "model": model,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", choices=SIZES, default="0.6b")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    of_tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SPECIAL[2], "chat_template": TEMPLATE}
    files = {"config": config(*SIZES[args.size]), "tokenizer": tokenizer(), "tokenizer_config": of_tokenizer}
    for name, content in files.items():
        (args.out / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False))
    write_weights(args.out / "model.safetensors", SIZES[args.size], args.seed)


if __name__ == "__main__":
    main()
