"""Golden texts of DeepSeek-V3.2's encoding, by the model's own code.

    python3 scripts/dev/make_dsv32_fixtures.py ENCODING.py

ENCODING.py is the `encode_messages` that ships with the model (encoding/encoding_dsv32.py of its repository), or another
project's copy of it. Nothing of it is kept here: only what it makes of the conversations below.
"""

import importlib.util
import json
import pathlib
import sys

from make_template_fixtures import TOOLS, call, turn

OUT = pathlib.Path(__file__).parents[2] / "data/tests/fixtures/templates/deepseek_v32.json"
ASKED = turn("assistant", None, reasoning_content="look it up", tool_calls=[call("weather", json.dumps({"place": "Zürich", "days": 2}, ensure_ascii=False)), call("add", "{}")])
RESULTS = [turn("tool", "sunny <20°>"), turn("tool", "{\"sum\": 0}")]
FORMAT = {"type": "json_schema", "schema": {"é": 1.0}}
CASES = [
    [turn("user", "hello")],
    [turn("system", "Be brief."), turn("user", "1+1?"), turn("assistant", "2", reasoning_content="easy"), turn("user", "2+2?")],
    [turn("system", "S", tools=TOOLS), turn("user", "Weather?"), ASKED],
    [turn("system", "S", tools=TOOLS, response_format=FORMAT), turn("user", "Weather?"), ASKED, *RESULTS],
    [turn("system", "S", tools=TOOLS), turn("user", "Weather?"), ASKED, *RESULTS, turn("assistant", "Sunny.", reasoning_content="done")],
    [turn("system", "S", tools=TOOLS), turn("user", "Weather?"), ASKED, *RESULTS, turn("assistant", "Sunny.", reasoning_content="done"), turn("user", "thanks")],
    [turn("developer", "Do it", tools=TOOLS, response_format=FORMAT)],
    [turn("developer", "first"), turn("assistant", "x", reasoning_content="y"), turn("user", "then")],
    [turn("user", "a"), turn("assistant", "b")],
    [turn("user", "日本 🙂"), turn("assistant", "ok", tool_calls=[call("f", json.dumps({"s": "a\n\"b\"", "l": [1, 2.5, None, True], "o": {"k": "é"}, "f": 1e-7}, ensure_ascii=False))]), turn("tool", "r"), turn("assistant", "so", reasoning_content="t")],
    [turn("tool", "alone")],
    [turn("user", "a"), turn("tool", "b")],
    [turn("narrator", "a")],
    [],
]


def main():
    spec = importlib.util.spec_from_file_location("encoding", sys.argv[1])
    encoding = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(encoding)
    cases = []
    for messages in CASES:
        for thinking in (False, True):
            for drop in (True, False):
                try:
                    text = encoding.encode_messages(messages, "thinking" if thinking else "chat", drop_thinking=drop)
                except Exception:
                    # What is refused is part of the format, in whatever words.
                    text = None
                cases.append({"messages": messages, "thinking": thinking, "drop": drop, "text": text})
    OUT.write_text(json.dumps(cases, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(len(cases), "cases,", sum(case["text"] is None for case in cases), "refused")


if __name__ == "__main__":
    main()
