# What a test's words mean where objects are the program's: the text is changed to call these, or they stand under Python's own names.


def same(a, b):
    """`a is b`. Containers and objects keep their identity; other plain values are copies, which could be the same or not."""
    a, b = value_itself(a), value_itself(b)
    if type(a) is Handle and type(b) is Handle:
        return a._number == b._number
    if a is not b and type(a) is type(b) and type(a) not in CHANGEABLE and is_plain(a) and a == b:
        raise foreign.fail(Uncrossable(f"the test asks whether two equal values of type {type(a).__name__} are one object"))
    return a is b


def value_itself(value):
    """What a name of the program's stands for."""
    return value._value() if type(value) is Remote else value


def is_plain(value):
    return type(value) in CONTAINERS or type(value) in (int, float, complex, str, bytes, fractions.Fraction, decimal.Decimal) or is_named_tuple(type(value))


def identity(value):
    """`id(value)`"""
    value = value_itself(value)
    if type(value) is Handle:
        # No other object's: what is kept here lives as long as the tests.
        return id(foreign.identities.setdefault(value._number, object()))
    if type(value) not in CHANGEABLE and is_plain(value) and value is not None:
        raise foreign.fail(Uncrossable(f"the test asks for the identity of a value of type {type(value).__name__}"))
    return id(value)


def kind(value):
    """`type(value)` and `value.__class__`"""
    value = value_itself(value)
    if type(value) is Handle:
        if value._origin not in ("object", "made", "class") and not foreign.names_a_class():
            raise foreign.fail(RemoteFailure(b"Rits own object"))
        return foreign.ask("type", value, origin="class")
    return type(value)


def attributes(*values):
    """`vars(value)` and `value.__dict__`"""
    if values and type(values[0]) in (Handle, Remote):
        return foreign.ask("get", values[0], ["__dict__"], origin="read")
    return vars(*values)


def can_be_called(value):
    return foreign.ask("callable", value) if type(value) in (Handle, Remote) else callable(value)


def is_instance(value, kinds):
    """An object that the test made is what its class says, which may derive from one of Python's."""
    value = value_itself(value)
    if type(value) is Handle and value._origin == "object":
        listed = kinds if isinstance(kinds, tuple) else (kinds,)
        return any(foreign.ask("isinstance", k, [value]) if crosses_by_name(k) else isinstance(value, k) for k in listed)
    return isinstance(value, kinds)


def caught(kinds):
    """The exception classes that a test catches: those of the program's have one of the tests' in their place."""
    if isinstance(kinds, tuple):
        return tuple(caught(k) for k in kinds)
    if type(kinds) in (Handle, Remote):
        return foreign.exception(foreign.ask("get", kinds, ["__name__"]))
    return kinds


def raised(error):
    """An exception that a test raises whatever the program does; what else goes wrong in a `with` could be the program's fault."""
    if isinstance(error, type) and issubclass(error, BaseException):
        error = error()
    if isinstance(error, BaseException) and not foreign.is_of_program(error):
        error.__dict__["_raised"] = True
    return error


def equal(a, b):
    """`a == b`, and as exact as every comparison of values is here: True is not 1."""
    a, b = value_itself(a), value_itself(b)
    answer = a == b
    return as_exact(a, b) if answer is True else answer


def unequal(a, b):
    a, b = value_itself(a), value_itself(b)
    answer = a != b
    return not as_exact(a, b) if answer is False else answer


def within(item, items):
    item, items = value_itself(item), value_itself(items)
    answer = item in items
    if answer is True and type(items) in (list, tuple, set, frozenset) and is_number(item):
        return any(item == other and as_exact(item, other) for other in items)
    return answer


def is_number(value):
    return type(value) in (bool, int, float)


def as_exact(a, b, depth=0):
    """False where values that Python calls equal differ in that one of them is a truth and the other a number."""
    if (type(a) is bool) != (type(b) is bool):
        return not (is_number(a) and is_number(b))
    if depth > MAX_DEPTH or type(a) not in CONTAINERS or type(b) not in CONTAINERS:
        return True
    if type(a) in DICTS and type(b) in DICTS:
        kinds = {key: type(key) is bool for key in b}
        return all((type(k) is bool) == kinds.get(k, False) and as_exact(v, b[k], depth + 1) for k, v in a.items() if k in kinds)
    if isinstance(a, (set, frozenset)):
        kinds = {item: type(item) is bool for item in b}
        return all((type(item) is bool) == kinds.get(item, False) for item in a)
    return all(as_exact(x, y, depth + 1) for x, y in zip(a, b))


# Under which names the tests' space has them. Those without underlines are Python's own.
OF_TESTS = dict(
    __same__=same, __kind__=kind, __attributes__=attributes, __caught__=caught, __raised__=raised, __equal__=equal, __unequal__=unequal,
    __within__=within, __stopped__=Stopped, id=identity, vars=attributes, callable=can_be_called, isinstance=is_instance,
)  # fmt: skip
