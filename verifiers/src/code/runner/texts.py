# What the text of a test says, and how it is changed before it runs. The program has no say in either.


def names_of(code):
    """Global names that a code object and those inside it use."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_NAME", "LOAD_GLOBAL")}
    return names.union(*(names_of(c) for c in code.co_consts if isinstance(c, types.CodeType)))


def crossing(tree):
    """Code of the tests, as it has to be where objects and exceptions are the program's."""
    return ast.fix_missing_locations(Crossing().visit(tree))


class Crossing(ast.NodeTransformer):
    """Calls what `meanings.py` has in place of comparisons, of what Python keeps of an object, and of the classes that are caught."""

    def visit_Compare(self, node):
        self.generic_visit(node)
        name, wanted = MEANINGS.get(type(node.ops[0]), (None, True))
        if name is None or len(node.ops) > 1:
            if any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops):
                raise Uncrossable("the test has a chain of comparisons with `is`")
            return node
        sides = [node.left, node.comparators[0]]
        if name == "__same__" and any(isinstance(side, ast.Constant) and isinstance(side.value, (bool, type(None), type(...))) for side in sides):
            return node
        call = called(name, sides, node)
        return call if wanted else ast.copy_location(ast.UnaryOp(ast.Not(), call), node)

    def visit_ExceptHandler(self, node):
        self.generic_visit(node)
        node.type = node.type and called("__caught__", [with_stopped(node.type)], node.type)
        return node

    def visit_Call(self, node):
        self.generic_visit(node)
        name = called_name(node)
        if name in (*RAISES, "suppress"):
            node.args = [called("__caught__", [with_stopped(argument)], argument) for argument in node.args[:1]] + node.args[1:]
        elif name in IDENTITIES and len(node.args) > 1 and isinstance(node.func, ast.Attribute):
            node.func.attr, node.args = IDENTITIES[name], [called("__same__", node.args[:2], node), *node.args[2:]]
        elif isinstance(node.func, ast.Name) and name == "type" and len(node.args) == 1 and not node.keywords:
            return called("__kind__", node.args, node)
        return node

    def visit_Attribute(self, node):
        self.generic_visit(node)
        if node.attr in KEPT and isinstance(node.ctx, ast.Load):
            return called(KEPT[node.attr], [node.value], node)
        return node

    def visit_With(self, node):
        self.generic_visit(node)
        for inner in node.body:
            if isinstance(inner, ast.Raise) and inner.exc is not None:
                inner.exc = called("__raised__", [inner.exc], inner.exc)
        return node

    visit_AsyncWith = visit_With


def called(name, arguments, node):
    return ast.copy_location(ast.Call(ast.Name(name, ast.Load()), arguments, []), node)


# What is called in place of an operator, and the answer that it stands for.
MEANINGS = {
    ast.Is: ("__same__", True), ast.IsNot: ("__same__", False), ast.Eq: ("__equal__", True), ast.NotEq: ("__unequal__", True),
    ast.In: ("__within__", True), ast.NotIn: ("__within__", False),
}  # fmt: skip
IDENTITIES = {"assertIs": "assertTrue", "assertIsNot": "assertFalse"}
KEPT = {"__class__": "__kind__", "__dict__": "__attributes__"}


def with_stopped(kinds):
    """The classes that are caught, with the one for the program's ends of iteration where Python's is among them."""
    listed = kinds.elts if isinstance(kinds, ast.Tuple) else [kinds]
    if not any(isinstance(kind, ast.Name) and kind.id in ("StopIteration", "StopAsyncIteration") for kind in listed):
        return kinds
    return ast.copy_location(ast.Tuple([*listed, ast.Name("__stopped__", ast.Load())], ast.Load()), kinds)


def called_name(node):
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


RAISES = ("raises", "assertRaises", "assertRaisesRegex")


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
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        self.caught.update(kind.id for kind in kinds if isinstance(kind, ast.Name))
        self.generic_visit(node)

    def visit_Raise(self, node):
        made = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        self.caught.update([made.id] if isinstance(made, ast.Name) else [])
        self.generic_visit(node)

    def visit_Call(self, node):
        called = called_name(node)
        named = [a.id for a in node.args if isinstance(a, ast.Name)]
        if called in RAISES:
            self.caught.update(named[:1])
        elif called == "isinstance":
            self.classes.update(named[1:])
        self.generic_visit(node)

    def all_classes(self):
        return self.classes.union(*(made for name, made in self.made_by.items() if name in self.used), self.used)


def maker(node):
    """The name whose call gives a value: `Stack` of `Stack(3)`, and `Stack.of` of `Stack.of(3)`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        return f"{node.func.value.id}.{node.func.attr}"
    return None


# Attributes that plain values have; their use says nothing of a class.
OF_DATA = frozenset(n for kind in (list, tuple, str, bytes, dict, set, int, float, collections.deque, collections.Counter) for n in dir(kind))
