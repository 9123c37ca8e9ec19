"""Writes the gold/prediction pairs of Math-Verify's own test-suite as JSON lines.

    pip download --no-binary :all: --no-deps math-verify==0.9.0
    tar xzf math_verify-0.9.0.tar.gz
    pip install 'math-verify[antlr4_13_2]==0.9.0' pytest
    python scripts/dev/math_verify_pairs.py math_verify-0.9.0 > verifiers/tests/math/math_verify_pairs.jsonl

The tests are run with the library's entry points replaced by ones that note their arguments, so nothing is parsed out of the
source by hand: a line holds what a test passes and what it expects. The pairs are Math-Verify's (Apache-2.0; the test files carry
an MIT header); see the NOTICE beside the output.
"""

import importlib
import json
import sys
from pathlib import Path

MODULES = ["test_all", "test_boxed", "test_numina_cases", "test_open_thoughts", "test_strict", "test_yujianll"]
DEFAULTS = {"boxed_match_priority": 50, "float_rounding": 6, "strict": True, "allow_set_relation_comp": False}


def noting_module(root: Path, name: str):
    """Imports a test file with `parse` handing its text on and `verify` noting both."""
    seen = []

    def parse(text, targets=None, **_):
        return {"text": text, "targets": targets}

    def verify(gold, prediction, **settings):
        kinds = [type(t).__name__ for t in gold["targets"] or []]
        names = {"LatexExtractionConfig": "latex", "ExprExtractionConfig": "expr"}
        priority = next((t.boxed_match_priority for t in gold["targets"] or [] if hasattr(t, "boxed_match_priority")), 50)
        seen.append((gold["text"], prediction["text"], {
            **DEFAULTS, "targets": [names[k] for k in kinds] or ["latex", "expr"], "boxed_match_priority": priority, **settings,
        }))
        return True

    import math_verify

    math_verify.parse, math_verify.verify = parse, verify
    sys.path.insert(0, str(root))
    for stale in [m for m in sys.modules if m.startswith("tests")]:
        del sys.modules[stale]
    return importlib.import_module(f"tests.{name}"), seen


def pairs(root: Path, name: str):
    module, seen = noting_module(root, name)
    for test_name, test in vars(module).items():
        if not test_name.startswith("test_") or test.__module__ != module.__name__:
            continue
        for row, arguments in enumerate(rows_of(test)):
            seen.clear()
            try:
                test(**arguments)
            except AssertionError:
                pass
            for gold, prediction, settings in seen:
                # A test without rows asserts what it compares.
                expected = arguments.get("expected", arguments.get("result", True))
                yield {"id": f"{name}::{test_name}[{row}]", "gold": gold, "prediction": prediction,
                       "expected": bool(expected), "settings": settings}


def rows_of(test):
    """The arguments of each run of a test."""
    marks = [m for m in getattr(test, "pytestmark", []) if m.name == "parametrize"]
    if not marks:
        return [{}]
    (mark,) = marks
    names, rows = mark.args
    names = [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)
    return [dict(zip(names, values, strict=True)) for values in rows]


def main():
    root = Path(sys.argv[1]).resolve()
    for name in MODULES:
        for pair in pairs(root, name):
            print(json.dumps(pair, ensure_ascii=False))


if __name__ == "__main__":
    main()
