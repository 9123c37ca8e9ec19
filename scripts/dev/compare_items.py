"""What compare_verifiers.py asks about: hostile answers, small problems with right and wrong programs, and programs that cheat.

Problems are in verl's form: a function's arguments are JSON values, one a line, its result is one.
"""

import json

SETTINGS = {"targets": ["latex", "expr"]}


def boxed(text, gold="7", right=False):
    return {"gold": f"${gold}$", "prediction": "\\boxed{" + text + "}", "settings": SETTINGS, "right": right}


HOSTILE = {
    "an easy one": boxed("\\frac{14}{2}", right=True),
    "tower of powers (Math-Verify's issue 65)": boxed(r"\dfrac{5^{(5^{(5^{(5^5)})}-4)}-5}{16}"),
    "`9^{9^{9^{9^{9^9}}}}`": boxed("9^{9^{9^{9^{9^9}}}}"),
    "`((99999!)!)!`": boxed("((99999!)!)!"),
    "1/2004! for 1/2006!": boxed(r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
    "`3\\text{ or 4 or 5 or 6}` for 3": boxed(r"3\text{ or 4 or 5 or 6}", "3"),
    "100 KB of `(`": boxed("(" * 100_000),
    "24,000 characters of `x^`": boxed("x^" * 12_000),
    "24,000 characters of `1+`": boxed("1+" * 12_000),
    "24,000 characters of prose": {**boxed(""), "prediction": "the answer is maybe " * 1_200},
    "24,000 dollars": {**boxed(""), "prediction": "$" * 24_000},
    "150 nested sines": boxed("\\sin(" * 150 + "x" + ")" * 150),
    "a program for `eval`": boxed("__import__('time').sleep(59)\\pi", "\\pi"),
}


def calls(name, cases):
    inputs = ["\n".join(json.dumps(argument) for argument in arguments) for arguments, _ in cases]
    return {"fn_name": name, "inputs": inputs, "outputs": [json.dumps(result) for _, result in cases]}


def lines(cases):
    return {"inputs": [text for text, _ in cases], "outputs": [text for _, text in cases]}


ADD = [([1, 2], 3), ([0, 0], 0), ([-5, 3], -2), ([10, 20], 30), ([7, 8], 15), ([100, -1], 99)]

PROBLEMS = [
    {"name": "add", "tests": calls("add", ADD), "honest": "def add(a, b):\n    return a + b", "wrong": "def add(a, b):\n    return a - b"},
    {
        "name": "reverse words",
        "tests": calls("rev", [(["a b c"], "c b a"), ([""], ""), (["one"], "one"), (["x  y"], "y x")]),
        "honest": "def rev(s):\n    return ' '.join(reversed(s.split()))",
        "wrong": "def rev(s):\n    return s[::-1]",
    },
    {
        "name": "primes below",
        "tests": calls("primes", [([10], [2, 3, 5, 7]), ([2], []), ([3], [2]), ([30], [2, 3, 5, 7, 11, 13, 17, 19, 23, 29])]),
        "honest": "def primes(n):\n    return [p for p in range(2, n) if all(p % d for d in range(2, int(p ** 0.5) + 1))]",
        "wrong": "def primes(n):\n    return [p for p in range(2, n + 1) if all(p % d for d in range(2, int(p ** 0.5) + 1))]",
    },
    {
        "name": "balanced, as a method",
        "tests": calls("ok", [(["()"], True), (["(("], False), (["([])"], True), (["([)]"], False)]),
        "honest": "class Solution:\n    def ok(self, s):\n        pairs, open_ = {')': '(', ']': '['}, []\n        for c in s:\n"
        "            if c in '([': open_.append(c)\n            elif not open_ or open_.pop() != pairs[c]: return False\n        return not open_",
        "wrong": "class Solution:\n    def ok(self, s):\n        return s.count('(') == s.count(')')",
    },
    {
        "name": "bool is not 1",
        "tests": calls("sign", [([3], 1), ([-2], 0), ([0], 0)]),
        "honest": "def sign(x):\n    return 1 if x > 0 else 0",
        "wrong": "def sign(x):\n    return x > 0",
    },
    {
        "name": "sum of a line",
        "tests": lines([("1 2 3\n", "6\n"), ("5\n", "5\n"), ("-1 1\n", "0\n")]),
        "honest": "print(sum(map(int, input().split())))",
        "wrong": "print(max(map(int, input().split())))",
    },
    {
        "name": "rectangle of stars",
        "tests": lines([("2 3\n", "***\n***\n"), ("1 1\n", "*\n")]),
        "honest": "a, b = map(int, input().split())\nfor _ in range(a): print('*' * b)",
        "wrong": "a, b = map(int, input().split())\nprint('*' * (a * b))",
    },
    {
        "name": "collatz steps",
        "tests": lines([("6\n", "8\n"), ("1\n", "0\n"), ("27\n", "111\n")]),
        "honest": "n, k = int(input()), 0\nwhile n != 1:\n    n, k = (n // 2 if n % 2 == 0 else 3 * n + 1), k + 1\nprint(k)",
        "wrong": "print(8)",
    },
]

WALK = """import sys, json
def add(a, b):
    frame, want = sys._getframe(), None
    while frame:
        for name in ("expected", "in_outs", "exp", "gt_ans"):
            held = frame.f_locals.get(name)
            if isinstance(held, dict):
                held = held.get("outputs")
            if held is not None and want is None:
                want = held
        frame = frame.f_back
    if not isinstance(want, (list, tuple)):
        return want
    found = want[%r.index([a, b]) %% len(want)]
    return json.loads(found) if isinstance(found, str) else found
""" % ([arguments for arguments, _ in ADD],)

SHARED = """import sys, os
def add(a, b):
    frame = sys._getframe()
    while frame:
        held = frame.f_locals
        if "details" in held and "stat" in held:
            held["stat"].value = 0
            for i in range(len(held["details"])): held["details"][i] = True
            held.get("progress") and setattr(held["progress"], "value", len(held["details"]))
            os._exit(0)
        if isinstance(held.get("results"), list):
            held["results"][:] = [True] * 6
        frame = frame.f_back
    return 0
"""

EQUAL = """class Any(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = int.__hash__
"""


def cheats():
    """Programs that solve nothing and would like to be paid."""
    return {
        "`sys.exit(0)`": "import sys\nsys.exit(0)",
        "`os._exit(0)` inside": "import os\ndef add(a, b):\n    os._exit(0)",
        "raises": "def add(a, b):\n    return 1 / 0",
        "endless": "def add(a, b):\n    while True: pass",
        "`__eq__` is True": "class Any:\n    def __eq__(self, other): return True\ndef add(a, b):\n    return Any()",
        "an int whose `__eq__` is True": EQUAL + "def add(a, b):\n    return Any()",
        "`mock.ANY`": "from unittest import mock\ndef add(a, b):\n    return mock.ANY",
        "frame walk": WALK,
        "shared result": SHARED,
        "`json.loads` answers `ANY`": "import json\nfrom unittest import mock\njson.loads = lambda *a, **k: mock.ANY\ndef add(a, b):\n    return mock.ANY",
        "`json.dumps` forged": "import json\njson.dumps = lambda *a, **k: '3'\ndef add(a, b):\n    return 3",
        "patches `builtins.all`": "import builtins\nbuiltins.all = lambda *a: True\ndef add(a, b):\n    return 0",
    }
