# Suites of unittest's, and test functions, that a test brings with it.


def watch_suites(text):
    """Makes every failure in a suite the test's own, whoever looks at the result: `unittest.main(exit=False)` looks at nothing."""
    if "unittest" not in str(text):
        return
    import unittest

    if getattr(unittest.TestResult, "of_the_test", False):
        return
    unittest.TestResult.of_the_test = True
    for name in ("addError", "addFailure", "addSubTest", "addUnexpectedSuccess"):
        setattr(unittest.TestResult, name, watched(getattr(unittest.TestResult, name)))
    plain_equal = unittest.TestCase.assertEqual

    def assert_equal(self, first, second, msg=None):
        plain_equal(self, first, second, msg)
        if not as_exact(first, second):
            self.fail(msg or f"{first!r} is not {second!r}")

    unittest.TestCase.assertEqual = assert_equal


def watched(add):
    def added(self, *about):
        # A subtest that went well has nothing to say.
        if about[-1] is not None:
            error = about[-1][1] if isinstance(about[-1], tuple) else AssertionError("a test that should fail did not")
            answer = answer_of(error, foreign)
            foreign.fail(RemoteFailure(answer if answer != b"D" else b"X" + describe(error)))
        add(self, *about)

    return added


def run_collected(space, before):
    """Runs what a test has defined and not run, as a test runner would find it."""
    unittest = sys.modules.get("unittest")
    defined = [(name, value) for name, value in space.items() if value is not before.get(name)]
    for name, value in defined:
        if unittest and isinstance(value, type) and issubclass(value, unittest.TestCase):
            unittest.defaultTestLoader.loadTestsFromTestCase(value).run(unittest.TestResult())
        elif not name.lower().startswith("test"):
            continue
        elif isinstance(value, types.FunctionType) and value.__code__.co_argcount == 0:
            run_if_coroutine(value())
        elif isinstance(value, type):
            for method in [name for name in vars(value) if name.startswith("test")]:
                case = value()
                getattr(case, "setup_method", lambda: None)()
                run_if_coroutine(getattr(case, method)())


def run_if_coroutine(value):
    if isinstance(value, types.CoroutineType):
        import asyncio

        asyncio.run(value)
