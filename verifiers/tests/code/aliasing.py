"""Writes random tests of a program's functions on lists and dicts that alias one another, as JSON: what they do in one process is what they assert."""

import json
import random
import sys

PROGRAM = sys.argv[1]
STEPS = [
    "keep({v})", "{v} = get({n}) or []", "{v} = push({w}, {n})", "{v} = pair({v}, {w})[:2]", "swap({v}, {w})", "{v} = copied({w})", "drop()",
    "{v} = call(look, {w})", "poke({n}, {n} + 10)", "{v}.append(5) if type({v}) is list else {v}.update(k=1)", "{v}.clear()",
    "push({w}, [{v}] if len(repr({v})) < 80 else 0)", "R.append(same({v}, {w}))",
]  # fmt: skip
LOOK = "def look(x):\n    d.append(len(x))\n    return x"


def script(chance):
    lines = ["reset()", "R = []", "a = [1]", "b = [a, 2]", "c = {0: a}", "d = []", LOOK]
    for _ in range(chance.randint(4, 14)):
        v, w = chance.choice("abcd"), chance.choice("abcd")
        lines.append(chance.choice(STEPS).format(v=v, w=w, n=chance.randint(0, 9)))
        lines.append("R.append((a is b, a is c, a is d, b is c, b is d, c is d))")
        lines.append("R.append(repr([a, b, c, d])[:600])")
    return "\n".join(lines)


tests = []
for seed in range(int(sys.argv[2])):
    text, space = script(random.Random(seed)), {}
    try:
        exec(PROGRAM + text, space)
    except Exception:
        continue
    tests.append(f"{text}\nassert R == {space['R']!r}")
print(json.dumps(tests))
