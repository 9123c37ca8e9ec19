# The program's names and objects, in the hands of its tests.


def is_capital(name):
    return name.lstrip("_")[:1].isupper()


class Remote:
    """A name of the program's, in the space of the tests."""

    def __init__(self, name):
        self.__dict__["_name"] = name

    def _value(self):
        return foreign.ask("value", self, origin="object" if self._name in foreign.classes else "read")

    def __getattr__(self, attribute):
        if attribute.startswith("__") and not (attribute in TOLD or is_capital(self._name)):
            raise foreign.fail(Uncrossable(f"the test uses `{attribute}` of the program's `{self._name}`"))
        value = foreign.ask("get", self, [attribute], origin="read")
        if type(value) is Handle and is_capital(self._name):
            value.__dict__["_path"] = f"{self._name}.{attribute}"
        return value

    def __setattr__(self, attribute, value):
        foreign.ask("set", self, [attribute, value])

    def __call__(self, *arguments, **named):
        origin = "returned"
        if is_capital(self._name):
            origin = "object" if self._name in foreign.classes else "made"
        return foreign.ask("call", self, arguments, named, origin)

    def __instancecheck__(self, value):
        return foreign.ask("isinstance", self, [value])

    def __subclasscheck__(self, kind):
        return foreign.ask("issubclass", self, [kind])

    def __mro_entries__(self, _):
        raise foreign.fail(Uncrossable(f"a class of the test's derives from the program's `{self._name}`"))


class Handle:
    """An object of the program's, known by its number. What is done with it is done there; plain values are compared here.

    Where it came from says what its word is worth: `object` was made by the test from what it uses as a class, and answers for itself;
    `made` came of a call of a name with a capital letter, and compares with other objects; `read` is an attribute or an item;
    `returned` is what a function or method gave. Where a plain value is wanted of the last three, an object is wrong.
    """

    def __init__(self, number, origin):
        self.__dict__.update(_number=number, _origin=origin, _path=None, _driver=None)

    def __getattr__(self, name):
        if name.startswith("__") and not (name in TOLD or self._origin == "object"):
            raise foreign.fail(Uncrossable(f"the test uses `{name}` of an object of the program's"))
        if self._driver is not None and name in ("send", "throw", "close"):
            return getattr(self._driver, name)
        return foreign.ask("get", self, [name], origin="read")

    def __setattr__(self, name, value):
        foreign.ask("set", self, [name, value])

    def __delattr__(self, name):
        foreign.ask("del", self, [name])

    def __call__(self, *arguments, **named):
        origin = "returned"
        if self._path is not None:
            # A class's own method may make an object or compute a value; only the test's text can tell.
            origin = "object" if self._path in foreign.classes else "static"
        return foreign.ask("call", self, arguments, named, origin)

    def __instancecheck__(self, value):
        return foreign.ask("isinstance", self, [value])

    def __subclasscheck__(self, kind):
        return foreign.ask("issubclass", self, [kind])

    def __mro_entries__(self, _):
        raise foreign.fail(Uncrossable("a class of the test's derives from one of the program's"))

    def __iter__(self):
        return foreign.ask("iter", self, origin="read")

    def __next__(self):
        if self._driver is not None:
            return self._driver.send(None)
        for item in foreign.ask("next", self, origin="read"):
            return item
        raise StopIteration

    def __len__(self):
        return self._measure("len")

    def __bool__(self):
        return self._measure("bool")

    def _measure(self, what):
        """What a method returned counts only if it is of a class that the test names, or of Python's own."""
        if self._driver is not None:
            raise foreign.fail(RemoteFailure(b"Rits own object"))
        measure = foreign.ask(what, self, [tuple(foreign.shown) if self._origin in ("returned", "static") else None])
        if measure is None:
            raise Misplaced(what)
        return measure

    def __enter__(self):
        return foreign.ask("get", self, ["__enter__"])()

    def __exit__(self, _, error, __):
        return left(error, foreign.ask("leave", self, [seen_of(error)]))

    async def __aenter__(self):
        return await foreign.ask("get", self, ["__aenter__"])()

    async def __aexit__(self, _, error, __):
        return left(error, await foreign.ask("leave_awaited", self, [seen_of(error)]))

    def __await__(self):
        return (self._driver or awaited(self)).__await__()

    def __aiter__(self):
        return foreign.ask("get", self, ["__aiter__"])()

    async def __anext__(self):
        try:
            return await foreign.ask("anext", self)
        except Stopped as end:
            raise StopAsyncIteration from end

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
        if self._origin == "class" and name in ("eq", "ne"):
            return (type(other) is Handle and other._number == self._number) == (name == "eq")
        if type(other) is Handle:
            if other._number == self._number and name in ("eq", "ne"):
                return name == "eq"
            if name in ("eq", "ne") and any(h._path and foreign.ask("is_member", h) for h in (self, other)):
                return name == "ne"
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
    if handle._origin == "static":
        raise foreign.fail(Uncrossable("the test compares what a class's own method returned, an object that the program answers for"))
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
            if "static" in origins:
                raise foreign.fail(Uncrossable("the test asks an object that a class's own method returned"))
            raise foreign.fail(RemoteFailure(b"Rits own object"))
        return result

    return operate


UNARY = frozenset("neg pos invert index int float complex abs round".split())


def seen_of(error):
    """What the program's end of a `with` is told of an exception. Of what the test stumbles over it is told nothing: it could hide it."""
    if error is None or isinstance(error, (AssertionError, RemoteFailure, Uncrossable)):
        return None
    if foreign.is_of_program(error):
        return error.__dict__["_handle"]
    if error.__dict__.pop("_raised", False):
        return about_error(error)
    raise foreign.fail(Uncrossable("an exception of the test's passes through a `with` of the program's object"))


def left(error, hidden):
    """Whether an exception ends with the `with`. One that the test itself raises there may; an assert holds or it does not."""
    if not hidden or error is None or isinstance(error, (AssertionError, RemoteFailure, Uncrossable)):
        return False
    if foreign.is_of_program(error):
        if isinstance(error, (AttributeError, NameError, TypeError, NotImplementedError)):
            return False
        raise foreign.fail(Uncrossable("an exception of the program's ends in a `with` of its own, where it could hide that it fails"))
    return True


async def awaited(handle):
    """What drives a coroutine of the program's. The program goes on for a moment each time that it is asked; in between other tasks of the test have their turn."""
    import asyncio

    while True:
        for value in foreign.ask("advance", handle, origin="returned"):
            return value
        await asyncio.sleep(0)


def asked(operation):
    return lambda self, *arguments: foreign.ask(operation, self, arguments)


def item_of(self, key):
    if type(key) is slice:
        return foreign.ask("getslice", self, [key.start, key.stop, key.step], origin="read")
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
for _name, _operation in dict(
    len=len, iter=iter, getitem=operator.getitem, contains=operator.contains, bool=bool, str=str, abs=abs, next=next, repr=repr, int=int,
    float=float, round=round, index=operator.index, hash=hash, reversed=reversed, format=format, setitem=operator.setitem,
    delitem=operator.delitem, neg=operator.neg, divmod=divmod,
).items():  # fmt: skip
    setattr(Remote, f"__{_name}__", of_value(_operation))
for _name in "enter exit aenter aexit await aiter anext".split():
    setattr(Remote, f"__{_name}__", lambda self, *others, _name=f"__{_name}__": getattr(Handle, _name)(self._value(), *others))
# asyncio runs nothing that is no coroutine; of what else is awaited the program says so itself.
_collections_abc.Coroutine.register(Handle)
# What Python keeps of an object and a test may read. The other names of this kind are methods that answer for a value.
TOLD = frozenset(
    "__name__ __qualname__ __doc__ __module__ __dict__ __annotations__ __annotate__ __type_params__ __wrapped__ __defaults__ __members__ __slots__".split()
)
