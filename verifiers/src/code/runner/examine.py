# Tests that are code, apart from the program that they test.


def examine(nonce, name, code):
    """Runs tests in a process that the program never enters: the names that they miss are the program's, and what they do with those is asked of it.

    One test a frame, `S` and statements or `E` and an expression whose value is wanted; what the tests share (`code`) is run once.
    """
    global foreign
    space, index = module("tests", at_hand=False), 0
    foreign = Tester(space, nonce + struct.pack(">I", 0))
    space["__same__"] = same
    sys.modules["solution"] = OfProgram("solution")
    # Only a test that was asked for has the program's ear: what the tests share may need it, too.
    request = receive()
    broken = shared(foreign, name, code)
    while True:
        foreign.head = nonce + struct.pack(">I", index)
        send(foreign.head + (broken or one_test(foreign, name, request[:1], request[1:])))
        index += 1
        request = receive()


def shared(tester, name, code):
    """Runs what the tests share; what is wrong with it."""
    try:
        tree = ast.parse(code, "setup.py")
        compiled = compile(tree, "setup.py", "exec", dont_inherit=True)
        tester.know(compiled, tree, name)
        exec(compiled, tester.space)
        return tester.stuck
    except BaseException as e:
        return tester.stuck or (b"X" if tester.calls else b"L") + describe(e)


def one_test(tester, name, kind, source):
    tester.begin()
    answer = None
    try:
        if LOOKS.search(source):
            return b"Uthe test replaces or looks at standard streams"
        mode = "eval" if kind == b"E" else "exec"
        tree = ast.parse(source, "test.py", mode)
        compiled = compile(ast.fix_missing_locations(Identity().visit(tree)), "test.py", mode, dont_inherit=True)
        tester.know(compiled, tree, name)
        if kind == b"E":
            answer = value_of(eval(compiled, tester.space))
        else:
            tester.space.pop("check", None)
            exec(compiled, tester.space)
            if name and isinstance(tester.space.get("check"), types.FunctionType):
                tester.space["check"](Remote(name))
            answer = b"D"
        if tester.calls == 0:
            # A test that asks the program nothing would pass every program.
            answer = b"Uthe test never calls the program"
    except Refused as e:
        answer = e.args[0]
    except Misplaced as e:
        answer = b"Rits own object"
    except NoSuchPart as e:
        answer = b"U" + str(e).encode("utf-8", "replace")
    except BaseException as e:
        # What goes wrong before the program was asked anything is the test's own fault.
        answer = (b"X" if tester.calls else b"U") + describe(e)
    # The first thing that a test must not catch.
    return tester.stuck or answer


def value_of(value):
    if type(value) is Remote:
        value = value._value()
    if type(value) in (type({}.keys()), type({}.items())):
        value = set(value)
    if holds_handle(value):
        raise RemoteFailure(b"Rits own object")
    return b"V" + encoded(value, 1 << 30)


def holds_handle(value, depth=0):
    if type(value) in CONTAINERS and depth < MAX_DEPTH:
        items = itertools.chain.from_iterable(value.items()) if type(value) in DICTS else value
        return any(holds_handle(item, depth + 1) for item in items)
    return type(value) in (Handle, Remote) or isinstance(value, RemoteError)


# What a test would hold in front of standard streams of its own; the program has others. Its standard output alone is handed back.
LOOKS = re.compile(rb"\b(redirect_stderr|capsys|capfd|sys\.stderr|sys\.stdin|monkeypatch|unittest\.mock|mock\.patch|builtins\.(print|input|open))\b")

# Tests use these without an import where the program is sure to have one.
MODULES = frozenset("math cmath re random string collections itertools functools operator heapq bisect copy datetime json sys".split())


def names_of(code):
    """Global names that a code object and those inside it use."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_NAME", "LOAD_GLOBAL")}
    return names.union(*(names_of(c) for c in code.co_consts if isinstance(c, types.CodeType)))


class Identity(ast.NodeTransformer):
    """`a is b` of two names for one object of the program's is true, though each name has a handle of its own."""

    def visit_Compare(self, node):
        self.generic_visit(node)
        if len(node.ops) != 1 or not isinstance(node.ops[0], (ast.Is, ast.IsNot)):
            return node
        sides = [node.left, node.comparators[0]]
        if any(isinstance(side, ast.Constant) for side in sides):
            return node
        call = ast.copy_location(ast.Call(ast.Name("__same__", ast.Load()), sides, []), node)
        return call if isinstance(node.ops[0], ast.Is) else ast.copy_location(ast.UnaryOp(ast.Not(), call), node)


def same(a, b):
    if type(a) is Handle and type(b) is Handle:
        return a._number == b._number
    return a is b


class Uses(ast.NodeVisitor):
    """What the text of a test says of names with a capital letter: those whose objects it uses as objects, and those that it catches.

    The program has no say in that: a function that answers with an object in place of a value has answered wrong.
    """

    def __init__(self):
        self.classes, self.caught, self.made_by, self.used = set(), set(), {}, set()

    def visit_Assign(self, node):
        made = maker(node.value)
        for target in node.targets:
            if made and isinstance(target, ast.Name):
                self.made_by.setdefault(target.id, set()).add(made)
        self.generic_visit(node)

    def visit_Attribute(self, node):
        if node.attr not in OF_DATA:
            made = maker(node.value)
            if made:
                self.classes.add(made)
            elif isinstance(node.value, ast.Name):
                self.used.add(node.value.id)
        self.generic_visit(node)

    def visit_ExceptHandler(self, node):
        self.caught.update(n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)) if node.type else None
        self.generic_visit(node)

    def visit_Raise(self, node):
        self.caught.update(n.id for n in ast.walk(node.exc) if isinstance(n, ast.Name)) if node.exc else None
        self.generic_visit(node)

    def visit_Call(self, node):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        named = [a.id for a in node.args if isinstance(a, ast.Name)]
        if called in ("raises", "assertRaises", "assertRaisesRegex"):
            self.caught.update(named[:1])
        elif called == "isinstance":
            self.classes.update(named[1:])
        self.generic_visit(node)

    def all_classes(self):
        return self.classes.union(*(made for name, made in self.made_by.items() if name in self.used), self.used)


def maker(node):
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None


# Attributes that plain values have; their use says nothing of a class.
OF_DATA = frozenset(n for kind in (list, tuple, str, bytes, dict, set, int, float, collections.deque, collections.Counter) for n in dir(kind))


class Uncrossable(BaseException):
    """A test does with the program what cannot be judged from outside."""


class RemoteFailure(BaseException):
    """The program failed in a way that a test must not catch."""


class Misplaced(TypeError):
    """A test takes the length or the truth of an object where only a plain value's is worth something."""


class NoSuchPart(AttributeError):
    """A test looks at what Python keeps of an object, which stays with the program."""


class RemoteError(Exception):
    """An exception class of the program's."""

    _text, _handle = "", None

    def __str__(self):
        return self._text

    def __getattr__(self, name):
        if name.startswith("__") or self._handle is None:
            raise AttributeError(name)
        return getattr(self._handle, name)


class OfProgram(types.ModuleType):
    """What a test imports as the solution."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Remote(name)


class Tester:
    """The end of the talk that the tests have."""

    def __init__(self, space, head):
        self.space, self.head, self.calls, self.stuck = space, head, 0, None
        self.arriving = "returned"
        self.classes, self.shown = set(), set()
        # What the program was lent: it knows it by number.
        self.objects, self.numbers = [], {}

    def begin(self):
        self.calls, self.stuck = 0, None

    def know(self, compiled, tree, name):
        """Gives the names that a test lacks."""
        uses = Uses()
        uses.visit(tree)
        self.classes |= {n for n in uses.all_classes() if is_capital(n)}
        known = set(self.space) | set(vars(builtins))
        for missing in names_of(compiled) - known:
            if missing in MODULES:
                self.space[missing] = __import__(missing)
            elif missing in uses.caught and is_capital(missing):
                self.space[missing] = type(missing, (RemoteError,), {})
            else:
                self.space[missing] = Remote(name if missing == "candidate" and name else missing)
        if name and name in vars(builtins):
            self.space.setdefault(name, Remote(name))
        self.shown |= {n for n in names_of(compiled) if is_capital(n)}

    def fail(self, failure):
        """Ends the test, whatever the test makes of it."""
        if self.stuck is None:
            self.stuck = failure.args[0] if type(failure) is RemoteFailure else b"U" + str(failure).encode("utf-8", "replace")
        return failure

    # How what is no plain value crosses.

    def out(self, value):
        kind = type(value)
        if kind is Handle:
            return struct.pack(">cI", b"h", value._number), ()
        if isinstance(value, RemoteError) and value._handle is not None:
            return struct.pack(">cI", b"h", value._handle._number), ()
        named = value._name if kind is Remote else self.named(value)
        if named:
            return struct.pack(">cI", b"g", len(named.encode())) + named.encode(), ()
        about = self.about(value)
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        return struct.pack(">cI", b"k", self.numbers[id(value)]), (about,)

    def named(self, value):
        name = getattr(value, "__name__", None)
        if isinstance(value, (type, types.BuiltinFunctionType)) and isinstance(name, str) and getattr(builtins, name, None) is value:
            return f"builtins.{name}"
        if isinstance(value, type) and issubclass(value, RemoteError):
            return name
        return None

    def about(self, value):
        if isinstance(value, FUNCTIONS):
            return "function:" + str(getattr(value, "__name__", "function"))
        if isinstance(value, type) and value.__module__ == "tests":
            return "function:" + value.__name__
        if isinstance(value, SEQUENCES):
            return "iterable:" + type(value).__name__
        if type(value).__module__ == "tests" or isinstance(value, (io.StringIO, io.BytesIO)):
            return "object:" + type(value).__name__
        raise self.fail(Uncrossable(f"a value for the program, of type {type(value).__name__}, is no plain one"))

    def object(self, number):
        return Handle(number, self.arriving)

    def lent(self, number, about):
        return self.objects[number]

    def called(self, name):
        raise ValueError("a name comes from the tests alone")

    # What is asked of the program.

    def ask(self, operation, subject, arguments=(), named=None, origin="returned"):
        if self.stuck is not None:
            raise RemoteFailure(self.stuck)
        self.calls += 1
        capture = sys.stdout is not sys.__stdout__
        named = named or {}
        try:
            body = encoded([operation, subject, list(arguments), named, capture], 1 << 24)
        except Refused as e:
            raise self.fail(Uncrossable("a value for the program is too large or too deep")) from e
        send(self.head + b"Q" + body)
        while True:
            answer = receive()
            kind, body = answer[:1], answer[1:]
            if kind != b"Q":
                break
            send(self.head + self.serve(body))
        self.arriving = "read" if origin == "read" else "returned"
        try:
            answer = decode(body)
            if kind == b"V":
                value, changed, printed = answer
            else:
                error, printed = self.raised(*answer[:4]), answer[4]
        except Exception as e:
            raise self.fail(RemoteFailure(b"Ran answer that makes no sense")) from e
        finally:
            self.arriving = "returned"
        if type(printed) is str and capture:
            sys.stdout.write(printed)
        if kind != b"V":
            raise error
        for old, new in zip((*arguments, *named.values()), changed or ()):
            take_over(old, new)
        if type(value) is Handle:
            value.__dict__["_origin"] = origin
        return value

    def raised(self, names, arguments, text, handle):
        """The exception that a test may expect: of the program's class where the test names it, of Python's else."""
        known = [self.space.get(name) for name in names]
        known = [c for c in known if isinstance(c, type) and issubclass(c, RemoteError)]
        if known or not hasattr(builtins, names[0]):
            base = type(builtin_exception(names, (), ""))
            bases = tuple(dict.fromkeys((*known, RemoteError, base)))
            bases = tuple(b for b in bases if not any(b is not c and issubclass(c, b) for c in bases))
            error = type(names[0], bases, {})(*arguments)
            error._text, error._handle = text, handle
            return error
        return builtin_exception(names, arguments, text)

    # What the program asks: it may call what it was lent, and look at public attributes of objects of the tests' own classes.

    def serve(self, body):
        try:
            number, operation, arguments, named = decode(body)
            subject = self.objects[number]
            mutable = [encoded(a, 1 << 30) if type(a) in CHANGEABLE else None for a in arguments]
            value = self.served(subject, operation, arguments, named)
            changed = [a if was is not None and encoded(a, 1 << 30) != was else None for a, was in zip(arguments, mutable)]
            return b"A" + encoded([value, changed if any(a is not None for a in changed) else None], 1 << 24)
        except (RemoteFailure, Uncrossable) as e:
            self.fail(e)
            return b"Y" + encoded([["RuntimeError"], [], "the test is over"], 1 << 24)
        except BaseException as e:
            if isinstance(e, AssertionError):
                # An assert of the test's holds or it does not, whatever the program makes of it.
                self.fail(RemoteFailure(b"X" + describe(e)))
            names = [c.__name__ for c in type(e).__mro__]
            plain = [a for a in e.args if type(a) in (str, int, float, bool)]
            return b"Y" + encoded([names, plain, describe(e).decode().partition(": ")[2]], 1 << 24)

    def served(self, subject, operation, arguments, named):
        about = self.about(subject).partition(":")[0]
        if operation == "call" and about == "function":
            return subject(*arguments, **named)
        if operation in ("iter", "next", "len", "getitem") and about != "function":
            return SERVED[operation](subject, *arguments)
        if about == "object" and operation in SERVED and not (arguments and str(arguments[0]).startswith("_")):
            return SERVED[operation](subject, *arguments)
        raise AttributeError(operation)


SERVED = {
    "get": getattr, "set": setattr, "iter": iter, "next": next_of,
    **{f.__name__: f for f in (len, str, repr, bool)},
    **{n: getattr(operator, n) for n in "getitem setitem contains eq ne lt le gt ge add sub mul".split()},
}  # fmt: skip
FUNCTIONS = (
    types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.MethodWrapperType, types.MethodDescriptorType,
    functools.partial, operator.itemgetter, operator.attrgetter, operator.methodcaller,
)  # fmt: skip
SEQUENCES = (
    range, types.GeneratorType, map, filter, zip, enumerate, reversed,
    *{type(iter(v)) for v in ((), [], "", {}, set(), range(0), {}.values(), {}.items())}, type({}.keys()), type({}.values()), type({}.items()),
)  # fmt: skip


def is_capital(name):
    return name.lstrip("_")[:1].isupper()


class Remote:
    """A name of the program's, in the space of the tests."""

    def __init__(self, name):
        self.__dict__["_name"] = name

    def _value(self):
        return foreign.ask("value", self, origin="read")

    def __getattr__(self, attribute):
        if attribute.startswith("__"):
            raise NoSuchPart(f"the test uses `{attribute}` of the program's `{self._name}`")
        return foreign.ask("get", self, [attribute], origin="read")

    def __setattr__(self, attribute, value):
        foreign.ask("set", self, [attribute, value])

    def __call__(self, *arguments, **named):
        origin = "returned"
        if is_capital(self._name):
            origin = "object" if self._name in foreign.classes else "made"
        return foreign.ask("call", self, arguments, named, origin)

    def __instancecheck__(self, value):
        return foreign.ask("isinstance", self, [value])

    __hash__ = object.__hash__


class Handle:
    """An object of the program's, known by its number. What is done with it is done there; plain values are compared here.

    Where it came from says what its word is worth: `object` was made by the test from what it uses as a class, and answers for itself;
    `made` came of a call of a name with a capital letter, and compares with other objects; `read` is an attribute or an item;
    `returned` is what a function or method gave. Where a plain value is wanted of the last three, an object is wrong.
    """

    def __init__(self, number, origin):
        self.__dict__.update(_number=number, _origin=origin)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise NoSuchPart(f"the test uses `{name}` of an object of the program's")
        return foreign.ask("get", self, [name], origin="read")

    def __setattr__(self, name, value):
        foreign.ask("set", self, [name, value])

    def __delattr__(self, name):
        foreign.ask("del", self, [name])

    def __call__(self, *arguments, **named):
        return foreign.ask("call", self, arguments, named)

    def __iter__(self):
        return foreign.ask("iter", self, origin="read")

    def __next__(self):
        for item in foreign.ask("next", self, origin="read"):
            return item
        raise StopIteration

    def __len__(self):
        return self._measure("len")

    def __bool__(self):
        return self._measure("bool")

    def _measure(self, what):
        """What a method returned counts only if it is of a class that the test names, or of Python's own."""
        measure = foreign.ask(what, self, [list(foreign.shown) if self._origin == "returned" else None])
        if measure is None:
            raise Misplaced(what)
        return measure

    def __enter__(self):
        return foreign.ask("get", self, ["__enter__"])()

    def __exit__(self, *error):
        return foreign.ask("get", self, ["__exit__"])(*(None for _ in error))

    def __copy__(self):
        return foreign.ask("copy", self, origin=self._origin)

    def __deepcopy__(self, _):
        return foreign.ask("deepcopy", self, origin=self._origin)

    def __hash__(self):
        if self._origin in ("object", "made"):
            return foreign.ask("operator", None, ["hash", self])
        return self._number


def compared(name):
    def compare(self, other):
        if type(other) is Remote:
            other = other._value()
        if type(other) is Handle:
            if other._number == self._number and name in ("eq", "ne"):
                return name == "eq"
            if not {"object", "made"} & {self._origin, other._origin}:
                raise foreign.fail(Uncrossable("the test compares objects of the program's, which could say what they like"))
        elif other is None and name in ("eq", "ne"):
            return name == "ne"
        else:
            answers_for_itself(self)
        return foreign.ask("operator", None, [name, self, other])

    return compare


def answers_for_itself(handle):
    """A plain value is wanted, and an object is none; else a program could choose not to be judged."""
    if handle._origin != "object":
        raise foreign.fail(RemoteFailure(b"Rits own object"))


def operated(name, swapped=False):
    def operate(self, *others):
        operands = (*others, self) if swapped else (self, *others)
        result = foreign.ask("operator", None, [name, *operands])
        origins = {o._origin if type(o) is Handle else "plain" for o in operands}
        # A difference that is nothing could be forged without knowing what is expected. An object cannot: it has yet to be compared.
        worth = "object" in origins or ("made" in origins and (name in UNARY or "plain" not in origins))
        if type(result) is not Handle and not worth:
            raise foreign.fail(RemoteFailure(b"Rits own object"))
        return result

    return operate


UNARY = frozenset("neg pos invert index int float complex abs round".split())


def asked(operation):
    return lambda self, *arguments: foreign.ask(operation, self, arguments)


def item_of(self, key):
    return foreign.ask("getitem", self, [key], origin="read")


def of_value(operation):
    return lambda self, *others: operation(self._value(), *others)


for _name in COMPARED:
    setattr(Handle, f"__{_name}__", compared(_name))
    setattr(Remote, f"__{_name}__", of_value(getattr(operator, _name)))
for _name in BINARY:
    _plain = _name.strip("_")
    setattr(Handle, f"__{_plain}__", operated(_name))
    setattr(Handle, f"__r{_plain}__", operated(_name, swapped=True))
    setattr(Remote, f"__{_plain}__", of_value(getattr(operator, _name)))
for _name in (*UNARY, "contains", "divmod"):
    setattr(Handle, f"__{_name}__", operated(_name))
for _name in "str repr format setitem delitem".split():
    setattr(Handle, f"__{_name}__", asked(_name))
Handle.__getitem__ = item_of
for _name, _operation in dict(len=len, iter=iter, getitem=operator.getitem, contains=operator.contains, bool=bool, str=str, abs=abs, next=next).items():
    setattr(Remote, f"__{_name}__", of_value(_operation))
