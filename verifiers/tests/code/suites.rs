//! Tests that bring a suite of unittest's or test functions: a failure in it is the test's, whoever looks at the result.

use crate::support::{cannot_tell, tells_apart};

const CASE: &str = "import unittest
class T(unittest.TestCase):
    def setUp(self): self.x = 2
    def test_a(self): self.assertEqual(f(self.x), 4)
    def test_b(self): self.assertTrue(f(3) == 6)
";

#[test]
fn a_suite_passes_and_fails_however_it_is_run() {
    for end in [
        "unittest.main()",
        "unittest.main(exit=False)",
        "unittest.main(argv=['first-arg-is-ignored'], exit=False)",
        "if __name__ == '__main__':\n    unittest.main()",
        "",
        "unittest.TextTestRunner(verbosity=2).run(unittest.TestLoader().loadTestsFromTestCase(T))",
        "T('test_a').debug()\nT('test_b').debug()",
        "import sys\nr = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(T))\nsys.exit(0 if r.wasSuccessful() else 1)",
        "try:\n    unittest.main()\nexcept SystemExit:\n    pass",
    ] {
        let test = format!("{CASE}{end}");
        for wrong in [
            "def f(x): return 2 * x if x == 2 else 7",
            "def f(x): raise ValueError",
            "def f(x): raise StopIteration",
            "def f(x): raise SystemExit(0)",
            "import unittest\ndef f(x): raise unittest.SkipTest('x')",
        ] {
            tells_apart("def f(x): return 2 * x", wrong, &test);
        }
    }
}

#[test]
fn subtests_fixtures_and_expected_exceptions() {
    for (right, wrong, test) in [
        (
            "def f(x):\n    if x<0: raise ValueError('neg')\n    return x",
            "def f(x): return x",
            "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertRaises(ValueError,f,-1)\n        with self.assertRaises(ValueError) as c: f(-1)\n        self.assertIn('neg',str(c.exception))\n        with self.assertRaisesRegex(ValueError,'neg'): f(-2)\nunittest.main()",
        ),
        (
            "def f(x): return x",
            "def f(x): return x+1",
            "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        for i in range(3):\n            with self.subTest(i=i):\n                self.assertEqual(f(i),i)\nunittest.main(exit=False)",
        ),
        (
            "def f(x): return True",
            "def f(x): return 1",
            "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(0),True)\n        self.assertIs(f(0),True)\nunittest.main()",
        ),
        (
            "def f(x): return [1,2]",
            "def f(x): return [2,1,1]",
            "import unittest\nclass T(unittest.TestCase):\n    @classmethod\n    def setUpClass(cls): cls.d=[2,1]\n    def test(self):\n        self.assertCountEqual(f(0),self.d)\n        self.assertListEqual(sorted(f(0)),[1,2])\nunittest.main()",
        ),
        (
            "async def f(x): return x",
            "async def f(x): return 0",
            "import unittest\nclass T(unittest.IsolatedAsyncioTestCase):\n    async def test(self):\n        self.assertEqual(await f(3),3)\nunittest.main()",
        ),
    ] {
        tells_apart(right, wrong, test);
    }
    cannot_tell(
        "def f(x): return 1",
        "import unittest\nclass T(unittest.TestCase):\n    @unittest.skip('x')\n    def test(self): self.assertEqual(f(1), 1)\nunittest.main()",
    );
}

#[test]
fn test_functions_are_run_where_the_test_does_not() {
    for (right, wrong, test) in [
        (
            "def f(x): return x",
            "def f(x): return 9",
            "def test_one():\n    assert f(1)==1\ndef test_two():\n    assert f(2)==2",
        ),
        ("def f(x): return x", "def f(x): return 9", "class TestF:\n    def test_one(self):\n        assert f(1)==1"),
        ("async def f(x): return x", "async def f(x): return 9", "async def test_one():\n    assert await f(1) == 1"),
    ] {
        tells_apart(right, wrong, test);
    }
}

#[test]
fn an_exit_of_the_tests_own_is_its_verdict() {
    for (right, wrong, test) in [
        ("def f(x): return x", "def f(x): return 0", "import sys\nassert f(1)==1\nsys.exit(0)"),
        ("def f(x): return x", "def f(x): return 0", "import sys\nif f(1)!=1:\n    sys.exit(1)\nassert True"),
    ] {
        tells_apart(right, wrong, test);
    }
}

/// What is missing here is missing for every program.
#[test]
fn inv_9_a_module_that_the_test_lacks_is_no_fault_of_the_program() {
    let program = "def f(x):\n    if x: raise ValueError\n    return 1";
    for test in [
        "import pytest\nassert f(0) == 1\nwith pytest.raises(ValueError): f(1)",
        "assert f(0) == 1\nimport pytest\nwith pytest.raises(ValueError): f(1)",
        "assert f(0) == 1\nfrom no_such_module import thing",
    ] {
        cannot_tell(program, test);
    }
    // A program that lacks one has not loaded.
    tells_apart("def f(x): return x", "import no_such_module\ndef f(x): return x", "assert f(1) in (1, 2)");
    tells_apart("def f(x): return x", "def f(x): raise ImportError('x')", "assert f(1) in (1, 2)");
}
