//! Classes of the program's in the hands of a test: constructors of their own, properties, inheritance, enumerations, context managers.

use data::Status;

use crate::support::{cannot_tell, judge, tells_apart};

const VECTOR: &str = "class V:\n    def __init__(s,x,y): s.x=x;s.y=y\n    @classmethod\n    def of(c,t): return c(*t)\n    @staticmethod\n    def dot(a,b): return a.x*b.x+a.y*b.y\n    @property\n    def norm2(s): return s.x**2+s.y**2\n    def __eq__(s,o): return isinstance(o,V) and (s.x,s.y)==(o.x,o.y)\n    def __add__(s,o): return V(s.x+o.x,s.y+o.y)\n    def __repr__(s): return f'V({s.x}, {s.y})'\n    def __hash__(s): return hash((s.x,s.y))\n";

#[test]
fn class_methods_properties_and_operators() {
    let wrong = VECTOR.replace("s.x+o.x", "s.x-o.x").replace("s.x**2", "s.x**3");
    for test in [
        "assert V.of((2,3)).norm2==13",
        "v=V.of((2,3))\nassert v.x==2 and v.norm2==13",
        "assert V.dot(V(1,2),V(3,4))==11 and V(2,0).norm2==4",
        "assert V(1,2)+V(2,2)==V(3,4)",
        "assert repr(V.of((2,2))+V(1,1))=='V(3, 3)'",
        "a=V(1,1)\na+=V(2,2)\nassert a.x==3",
        "assert type(V(1,2)).__name__=='V' and V(2,1).norm2==5",
        "assert V(1,2).__class__ is V and V(2,1).norm2==5",
        "assert vars(V(1,2))=={'x':1,'y':2}\nassert V(2,1).norm2==5",
        "assert hasattr(V,'of') and hasattr(V(1,2),'x') and not hasattr(V(1,2),'zz')\nassert V(2,0).norm2==4",
        "assert sum([V(1,1),V(2,2)],V(0,0))==V(3,3)",
        "assert getattr(V(2,0),'norm2')==4",
        "assert sorted({V(2,0):1}.values())==[1] and (V(2,0)+V(1,0)).x==3",
    ] {
        tells_apart(VECTOR, &wrong, test);
    }
}

#[test]
fn inheritance_enumerations_and_records() {
    for (right, wrong, test) in [
        (
            "class Shape:\n    def area(s): raise NotImplementedError\nclass Sq(Shape):\n    def __init__(s,a): s.a=a\n    def area(s): return s.a**2\n",
            "class Shape:\n    def area(s): raise NotImplementedError\nclass Sq(Shape):\n    def __init__(s,a): s.a=a\n    def area(s): return s.a**3\n",
            "s=Sq(2)\nassert isinstance(s,Shape) and issubclass(Sq,Shape) and s.area()==4\ntry:\n    Shape().area()\n    assert False\nexcept NotImplementedError: pass",
        ),
        (
            "class Stack(list):\n    def push(s,x): s.append(x)\n    def peek(s): return s[-1]",
            "class Stack(list):\n    def push(s,x): s.append(x)\n    def peek(s): return s[0]",
            "s=Stack()\ns.push(1);s.push(2)\nassert isinstance(s,list) and s.peek()==2 and len(s)==2",
        ),
        (
            "from enum import Enum\nclass C(Enum):\n    R=1\n    B=2\ndef nxt(c): return C.B if c is C.R else C.R",
            "from enum import Enum\nclass C(Enum):\n    R=1\n    B=2\ndef nxt(c): return c",
            "assert nxt(C.R)==C.B\nassert nxt(C.R) is C.B",
        ),
        (
            "from enum import Enum\nclass C(Enum):\n    R=1\n    B=2",
            "from enum import Enum\nclass C(Enum):\n    R=1\n    G=2",
            "assert [c.name for c in C]==['R','B'] and C['R'].value==1 and C(2).name=='B'",
        ),
        (
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x:int\n    y:int=0",
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x:int\n    y:int=1",
            "p=P(1)\nassert p==P(1,0) and repr(p)=='P(x=1, y=0)' and p.y==0",
        ),
        (
            "from collections import namedtuple\nP=namedtuple('P','x y')\ndef f(): return P(1,2)",
            "from collections import namedtuple\nP=namedtuple('P','x y')\ndef f(): return P(1,3)",
            "assert f().y==2 and f()==(1,2)\nx,y=f()\nassert x==1",
        ),
        (
            "from abc import ABC,abstractmethod\nclass A(ABC):\n    @abstractmethod\n    def go(s): ...\nclass B(A):\n    def go(s): return 2",
            "from abc import ABC\nclass A(ABC):\n    def go(s): ...\nclass B(A):\n    def go(s): return 2",
            "try:\n    A()\n    assert False\nexcept TypeError: pass\nassert B().go()==2",
        ),
        (
            "class InsufficientFunds(Exception): pass\nclass A:\n    def __init__(s,b): s.b=b\n    def w(s,x):\n        if x>s.b: raise InsufficientFunds('need more')\n        s.b-=x",
            "class A:\n    def __init__(s,b): s.b=b\n    def w(s,x): s.b-=x\nclass InsufficientFunds(Exception): pass",
            "a=A(5)\ntry:\n    a.w(9)\n    assert False,'should raise'\nexcept InsufficientFunds as e:\n    assert 'need' in str(e)\nassert a.b==5",
        ),
        (
            "class S:\n    class Empty(Exception): pass\n    def pop(s): raise S.Empty('e')",
            "class S:\n    class Empty(Exception): pass\n    def pop(s): return 1",
            "try:\n    S().pop()\n    assert False\nexcept S.Empty: pass",
        ),
        (
            "class L:\n    def __init__(s,x): s.x=x\n    def __getitem__(s,k): return s.x[k]\n    def __len__(s): return len(s.x)",
            "class L:\n    def __init__(s,x): s.x=x\n    def __getitem__(s,k): return s.x[0]\n    def __len__(s): return len(s.x)",
            "l=L([1,2,3])\nassert l[1:]==[2,3] and l[-1]==3 and l.x==[1,2,3]",
        ),
        (
            "import datetime\ndef f(y): return datetime.date(y,1,1)",
            "import datetime\ndef f(y): return datetime.date(y,1,2)",
            "import datetime\nassert f(2020).day==1 and f(2020).isoformat()=='2020-01-01'",
        ),
        (
            "import datetime\ndef f(d): return d + datetime.timedelta(days=1)",
            "import datetime\ndef f(d): return (d.year, d.month, d.day + 1)",
            "import datetime\nassert f(datetime.date(2024, 2, 28)) == datetime.date(2024, 2, 29)",
        ),
    ] {
        tells_apart(right, wrong, test);
    }
}

#[test]
fn context_managers_hide_what_the_test_raises_and_nothing_else() {
    for (right, wrong, test) in [
        (
            "class suppress:\n    def __init__(s,*e): s.e=e\n    def __enter__(s): return s\n    def __exit__(s,t,v,b): return t is not None and issubclass(t,s.e)",
            "class suppress:\n    def __init__(s,*e): s.e=e\n    def __enter__(s): return s\n    def __exit__(s,t,v,b): return False",
            "with suppress(ValueError):\n    raise ValueError('x')\nassert True",
        ),
        (
            "class Tx:\n    def __init__(s): s.log=[]\n    def __enter__(s): s.log.append('b'); return s\n    def __exit__(s,t,v,b):\n        s.log.append('c' if t is None else 'r'); return False",
            "class Tx:\n    def __init__(s): s.log=[]\n    def __enter__(s): s.log.append('b'); return s\n    def __exit__(s,t,v,b):\n        s.log.append('c'); return False",
            "t=Tx()\ntry:\n    with t:\n        raise RuntimeError('no')\nexcept RuntimeError as e:\n    assert str(e)=='no'\nassert t.log==['b','r']",
        ),
        (
            "class Tx:\n    def __init__(s): s.log=[]\n    def bad(s): raise KeyError('k')\n    def __enter__(s): return s\n    def __exit__(s,t,v,b): s.log.append(t.__name__ if t else None)",
            "class Tx:\n    def __init__(s): s.log=[]\n    def bad(s): raise KeyError('k')\n    def __enter__(s): return s\n    def __exit__(s,t,v,b): s.log.append('x')",
            "t=Tx()\ntry:\n    with t: t.bad()\nexcept KeyError: pass\nassert t.log==['KeyError']",
        ),
        (
            "from contextlib import contextmanager\n@contextmanager\ndef tag(n,out):\n    out.append('<'+n)\n    yield n\n    out.append('>')",
            "from contextlib import contextmanager\n@contextmanager\ndef tag(n,out):\n    out.append('<'+n)\n    yield n",
            "o=[]\nwith tag('a',o) as x:\n    assert x=='a'\n    o.append('in')\nassert o==['<a','in','>']",
        ),
    ] {
        tells_apart(right, wrong, test);
    }
    // An `if` of the test's is its assert, and what it stumbles over is a program's wrong value.
    let hides = |get: &str| {
        format!(
            "class Db:\n    def __enter__(s): return s\n    def __exit__(s, *a): return True\n    def get(s, k): {get}"
        )
    };
    for (get, test) in [
        ("return None", "with Db() as d:\n    r = d.get(1)\n    assert r[0] == 'a'"),
        ("return None", "with Db() as d:\n    if d.get(1) != 'a':\n        raise ValueError('wrong')\nassert True"),
        ("raise ValueError", "with Db() as d:\n    assert d.get(1) == 'a'"),
        ("raise AttributeError", "with Db() as d:\n    assert d.get(1) == 'a'"),
    ] {
        let verdict = judge(&hides(get), serde_json::json!({"asserts": [test]}));
        assert!(matches!(verdict.status, Status::Fail | Status::Error), "{test}: {verdict:?}");
    }
}

#[test]
fn inv_9_what_only_the_program_could_do_with_its_objects_is_an_error() {
    for (program, test) in [
        ("class S:\n    def area(s): return 1", "class R(S):\n    def area(self): return 3\nassert R().area() == 3"),
        (
            "class S:\n    def __init__(s, xs): s.xs = xs\n    @classmethod\n    def of(c, *xs): return c(xs)\n    def __contains__(s, x): return x in s.xs",
            "s = S.of(1, 2)\nassert 1 in s",
        ),
        (
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int",
            "import dataclasses\np = P(1)\nassert p.x == 1 and dataclasses.asdict(p) == {'x': 1}",
        ),
    ] {
        cannot_tell(program, test);
    }
}

#[test]
fn a04_what_a_class_method_returns_is_not_believed_where_a_value_is_wanted() {
    let forged = "class E:\n    def __eq__(s, o): return True\n    def __contains__(s, o): return True\n    def __lt__(s, o): return True\n    def __sub__(s, o): return 0\nclass Calc:\n    @staticmethod\n    def add(a, b): return E()";
    for test in [
        "assert Calc.add(1, 2) == 3",
        "assert 3 in Calc.add(1, 2)",
        "x = Calc.add(1, 2)\nassert x < 5",
        "assert Calc.add(1, 2) - 3 == 0",
        "assert Calc.add(1, 2).__eq__(3)",
    ] {
        let verdict = judge(forged, serde_json::json!({"asserts": [test]}));
        assert!(matches!(verdict.status, Status::Fail | Status::Error), "{test}: {verdict:?}");
    }
    tells_apart(
        "class Calc:\n    @staticmethod\n    def add(a, b): return a + b",
        "class Calc:\n    @staticmethod\n    def add(a, b): return a - b",
        "assert Calc.add(1, 2) == 3",
    );
}

#[test]
fn true_is_not_one_in_a_test_that_is_code() {
    for (right, wrong, test) in [
        ("def f(x): return 1", "def f(x): return True", "r=f(0)\nassert r==1"),
        ("def f(x): return [True,False]", "def f(x): return [1,0]", "r=f(0)\nassert r==[True,False]"),
        ("def f(x): return {'a':1}", "def f(x): return {'a':True}", "r=f(0)\nassert r=={'a':1}"),
        ("def f(x): return 1", "def f(x): return True", "assert f(0) in (1,2)"),
        (
            "def f(x): return x%2==0",
            "def f(x): return 1 if x%2==0 else 0",
            "for i in range(4):\n    want = i%2==0\n    assert f(i)==want",
        ),
        ("def f(x): return 2.0", "def f(x): return 2.5", "r=f(1)\nassert r==2"),
        (
            "def f(s): return set(s)",
            "def f(s): return list(s)",
            "r=f('ab')\nassert r=={'a','b'}\nassert isinstance(r,set)",
        ),
        ("def f(x): return [(1,2),(3,4)]", "def f(x): return [[1,2],[3,4]]", "r=f(1)\nassert r==[(1,2),(3,4)]"),
    ] {
        tells_apart(right, wrong, test);
    }
}
