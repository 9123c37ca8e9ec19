//! One object on each side: `is`, `id`, and what one side changes in a list, dict or set that both hold, are what they would be in one process.

use crate::support::{cannot_tell, fails_on, passes, tells_apart};

#[test]
fn a_function_that_copies_is_told_from_one_that_does_not() {
    for (right, wrong, test) in [
        ("def f(x): return list(x)", "def f(x): return x", "x=[1,2]\nassert f(x) == x and f(x) is not x"),
        ("def f(x): return x", "def f(x): return list(x)", "x=[1,2]\nassert f(x) is x"),
        ("def f(x): return list(x)", "def f(x): return x", "x=[1,2]\nassert id(f(x)) != id(x)"),
        (
            "import copy\ndef f(x): return copy.deepcopy(x)",
            "def f(x): return list(x)",
            "x=[[1],[2]]\ny=f(x)\ny[0].append(5)\nassert x == [[1],[2]] and y == [[1,5],[2]]",
        ),
        ("def f(a,b): return a is b", "def f(a,b): return a == b", "x=[1]\nassert f(x,x)\nassert not f(x,[1])"),
        (
            "def f(n,m): return [[0]*m for _ in range(n)]",
            "def f(n,m): return [[0]*m]*n",
            "g=f(2,2)\ng[0][0]=1\nassert g==[[1,0],[0,0]]",
        ),
        (
            "class B:\n    def __init__(s): s._x=[1]\n    def get(s): return list(s._x)",
            "class B:\n    def __init__(s): s._x=[1]\n    def get(s): return s._x",
            "b=B()\nb.get().append(2)\nassert b.get()==[1]",
        ),
        (
            "def f(x,acc=None):\n    acc=[] if acc is None else acc\n    acc.append(x)\n    return acc",
            "def f(x,acc=[]):\n    acc.append(x)\n    return acc",
            "assert f(1)==[1]\nassert f(2)==[2]",
        ),
        ("def f(s): s.add(3); return s", "def f(s): return s|{3}", "s={1}\nassert f(s) is s and s=={1,3}"),
        (
            "def f(x): return x[:]",
            "def f(x): return x",
            "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        x=[1]\n        self.assertIsNot(f(x),x)\n        self.assertEqual(f(x),x)\nunittest.main()",
        ),
        (
            "class N:\n    def __init__(s,v): s.v=v;s.c=[]\n    def add(s,n): s.c.append(n)",
            "class N:\n    def __init__(s,v): s.v=v;s.c=[]\n    def add(s,n): s.c=s.c+[N(n.v)]",
            "a=N(1);b=N(2)\na.add(b)\nassert a.c[0] is b",
        ),
        (
            "def cyc():\n    a=[1]\n    a.append(a)\n    return a",
            "def cyc():\n    return [1,[1]]",
            "a=cyc()\nassert a[1] is a",
        ),
        (
            "cache={}\ndef f(n):\n    if n not in cache: cache[n]=[n]\n    return cache[n]",
            "def f(n): return [n]",
            "assert f(3) is f(3)\nassert f(3)==[3]",
        ),
    ] {
        tells_apart(right, wrong, test);
    }
}

#[test]
fn what_one_side_changes_the_other_sees() {
    for (right, wrong, test) in [
        (
            "def f(a,b):\n    a.append(1)\n    return b",
            "def f(a,b):\n    a=a+[1]\n    return b",
            "x=[]\nassert f(x,x)==[1]",
        ),
        (
            "class B:\n    def __init__(s,x): s.x=list(x)",
            "class B:\n    def __init__(s,x): s.x=x",
            "a=[1]\nb=B(a)\na.append(2)\nassert b.x==[1]",
        ),
        ("def f(d): d['k']=1", "def f(d): return {**d,'k':1}", "d={}\nf(d)\nassert d=={'k':1}"),
        (
            "def f(g):\n    g[0].append(1)\n    return g",
            "def f(g):\n    g=[list(r) for r in g]\n    g[0].append(1)\n    return g",
            "r=[]\ng=[r,r]\nf(g)\nassert r==[1] and g==[[1],[1]]",
        ),
        ("def f(x):\n    x.clear()\n    x.extend([9])", "def f(x):\n    x=[9]", "a=b=[1]\nf(a)\nassert b==[9]"),
        (
            "class C:\n    def __init__(s): s.d={}\n    def put(s,k,v): s.d[k]=v",
            "class C:\n    def __init__(s): s.d={}\n    def put(s,k,v): s.d={**s.d,k:v}",
            "c=C()\nd=c.d\nc.put('a',1)\nassert d=={'a':1}",
        ),
        (
            "def f(m):\n    n=len(m)\n    for i in range(n):\n        for j in range(i): m[i][j],m[j][i]=m[j][i],m[i][j]\n    for r in m: r.reverse()",
            "def f(m):\n    m=[list(r)[::-1] for r in zip(*m)]",
            "m=[[1,2],[3,4]]\nf(m)\nassert m==[[3,1],[4,2]]",
        ),
        (
            "def f(b):\n    for r in b:\n        for i in range(len(r)):\n            if r[i]=='O': r[i]='X'",
            "def f(b): pass",
            "b=[['O','X'],['X','O']]\nf(b)\nassert all(c=='X' for r in b for c in r)",
        ),
        (
            "from collections import defaultdict\ndef f(xs):\n    d=defaultdict(list)\n    for x in xs: d[x%2].append(x)\n    return d",
            "from collections import defaultdict\ndef f(xs): return defaultdict(int)",
            "d=f([1,2])\nassert d[1]==[1] and d[0]==[2] and d[7]==[]",
        ),
        (
            "from collections import defaultdict\nclass G:\n    def __init__(s): s.g=defaultdict(set)\n    def add(s,a,b): s.g[a].add(b)",
            "from collections import defaultdict\nclass G:\n    def __init__(s): s.g=defaultdict(set)\n    def add(s,a,b): s.g[b].add(a)",
            "g=G()\ng.add(1,2)\nassert g.g[1]=={2} and g.g[5]==set()",
        ),
        (
            "class LRUCache:\n    def __init__(s,c):\n        from collections import OrderedDict\n        s.c=c;s.d=OrderedDict()\n    def get(s,k):\n        if k not in s.d: return -1\n        s.d.move_to_end(k);return s.d[k]\n    def put(s,k,v):\n        s.d[k]=v;s.d.move_to_end(k)\n        if len(s.d)>s.c: s.d.popitem(last=False)",
            "class LRUCache:\n    def __init__(s,c): s.c=c;s.d={}\n    def get(s,k): return s.d.get(k,-1)\n    def put(s,k,v):\n        s.d[k]=v\n        if len(s.d)>s.c: s.d.pop(next(iter(s.d)))",
            "c=LRUCache(2)\nc.put(1,1);c.put(2,2)\nassert c.get(1)==1\nc.put(3,3)\nassert c.get(2)==-1\nassert c.get(1)==1\nassert list(c.d.keys())==[3,1]",
        ),
    ] {
        tells_apart(right, wrong, test);
    }
    // Between two calls, and while one is running.
    tells_apart(
        "held = []\ndef keep(x):\n    held.append(x)\ndef total(): return sum(map(sum, held))",
        "held = []\ndef keep(x):\n    held.append(list(x))\ndef total(): return sum(map(sum, held))",
        "x = [1]\nkeep(x)\nx.append(2)\nassert total() == 3\nx.clear()\nassert total() == 0",
    );
    tells_apart(
        "def each(xs, g):\n    for x in list(xs):\n        g(x)\n        xs.append(x)\n    return xs",
        "def each(xs, g):\n    for x in list(xs):\n        g(x)\n    return xs + xs",
        "xs, seen = [1, 2], []\ndef look(x): seen.append((x, len(xs)))\nassert each(xs, look) is xs\nassert seen == [(1, 2), (2, 3)] and xs == [1, 2, 1, 2]",
    );
}

const ALIASES: &str = "held = []
def keep(x): held.append(x); return len(held)
def get(i): return held[i % len(held)] if held else None
def push(x, v):
    if type(x) is list: x.append(v)
    elif type(x) is dict: x[len(x)] = v
    return x
def swap(x, y):
    if type(x) is type(y) is list: x[:], y[:] = list(y)[:4], list(x)[:4]
    return (x, y)
def pair(x, y): return [x, y, x]
def copied(x): return list(x) if type(x) is list else dict(x)
def drop(): held[:] = held[1:]
def reset(): held.clear()
def call(g, x): r = g(x); push(x, 7); return r
def poke(i, v):
    x = get(i)
    if type(x) is list and x: x[0] = v
def same(a, b): return a is b
";

/// The oracle is one process: random tests on lists that alias one another assert what they did there.
#[test]
fn random_aliasing_is_as_in_one_process() {
    let written =
        std::process::Command::new("python3").args(["-c", include_str!("aliasing.py"), ALIASES, "40"]).output();
    let written = written.expect("python3");
    let tests: Vec<String> = serde_json::from_slice(&written.stdout).expect("tests");
    assert!(tests.len() > 20, "{}", String::from_utf8_lossy(&written.stderr));
    passes(ALIASES, serde_json::json!({ "asserts": tests }));
    // And the tests can tell: a copy where there should be none.
    let copies = ALIASES.replace("def keep(x): held.append(x)", "def keep(x): held.append(copied(x))");
    fails_on(&copies, serde_json::json!({ "asserts": tests }), "WA");
}

/// Of two equal values that nothing can change, copies are the same or not as an interpreter likes.
#[test]
fn inv_9_whether_two_equal_constants_are_one_object_is_not_asked() {
    for test in [
        "x = 'one and two'\nassert f(x) is not x",
        "x = (1, 2)\nassert f(x) is not x",
        "x = 10 ** 20\nassert f(x) is not x",
        "x = (1, [2])\nassert id(f(x)) != id(x)",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        x = frozenset('ab')\n        self.assertIsNot(f(x), x)\nunittest.main()",
        "assert f(f) is not f is not None",
    ] {
        cannot_tell("def f(x): return x", test);
    }
}

/// A program that answers with numbers of containers that it was never given has tampered with its channel, and changes nothing.
#[test]
fn a22_the_numbers_of_containers_are_not_the_programs_to_choose() {
    for forged in [
        "shared.entries[2 * n] = [[9], None]; shared.numbers[id(shared.entries[2 * n][0])] = 2 * n",
        "shared.numbers[id(x)] = n; shared.entries[n] = [x, list(x)]",
        "shared.next = 0",
    ] {
        let program = format!(
            "import sys\ndef f(x):\n    frame = sys._getframe()\n    while 'talk' not in frame.f_locals and 'self' not in frame.f_locals: frame = frame.f_back\n    me = frame.f_locals.get('self') or frame.f_locals['talk']\n    shared = me.shared\n    for n in range(1, 40):\n        {forged}\n    return [7, [8], shared.entries[max(shared.entries)][0]]"
        );
        tells_apart(
            "def f(x): return [3]",
            &program,
            "wanted = [3]\nx = [1]\nassert f(x) == wanted and f([]) == wanted",
        );
    }
}
