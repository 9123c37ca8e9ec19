# The program's names and objects, in the hands of its tests.


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

    def __exit__(self, _, error, __):
        if error is not None and not isinstance(error, (AssertionError, RemoteFailure, Uncrossable)) and not foreign.is_of_program(error):
            raise foreign.fail(Uncrossable("an exception of the test's passes through a `with` of the program's object"))
        foreign.ask("get", self, ["__exit__"])(None, None, None)
        # An assert holds or it does not, and what the program raised was raised: no word of the program's hides either.
        return False

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
                # A test that names no class wants plain values; else a program could choose not to be judged.
                if not foreign.names_a_class():
                    raise foreign.fail(RemoteFailure(b"Rits own object"))
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
