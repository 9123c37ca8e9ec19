# What the text of a test says, and how it is changed before it runs. The program has no say in either.


def names_of(code):
    """Global names that a code object and those inside it use."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_NAME", "LOAD_GLOBAL")}
    return names.union(*(names_of(c) for c in code.co_consts if isinstance(c, types.CodeType)))


def crossing(tree):
    """Code of the tests, as it has to be where objects and exceptions are the program's."""
    return ast.fix_missing_locations(Crossing().visit(tree))


class Crossing(ast.NodeTransformer):
    """`a is b` of two names for one object of the program's is true, though each name has a handle of its own; and who waits for an end of
    iteration gets that of the program's, too."""

    def visit_Compare(self, node):
        self.generic_visit(node)
        if len(node.ops) != 1 or not isinstance(node.ops[0], (ast.Is, ast.IsNot)):
            return node
        sides = [node.left, node.comparators[0]]
        if any(isinstance(side, ast.Constant) for side in sides):
            return node
        call = ast.copy_location(ast.Call(ast.Name("__same__", ast.Load()), sides, []), node)
        return call if isinstance(node.ops[0], ast.Is) else ast.copy_location(ast.UnaryOp(ast.Not(), call), node)

    def visit_ExceptHandler(self, node):
        self.generic_visit(node)
        node.type = node.type and with_stopped(node.type)
        return node

    def visit_Call(self, node):
        self.generic_visit(node)
        if called_name(node) in (*RAISES, "suppress"):
            node.args = [with_stopped(argument) for argument in node.args]
        return node


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
        self.caught.update(n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)) if node.type else None
        self.generic_visit(node)

    def visit_Raise(self, node):
        self.caught.update(n.id for n in ast.walk(node.exc) if isinstance(n, ast.Name)) if node.exc else None
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
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None


# Attributes that plain values have; their use says nothing of a class.
OF_DATA = frozenset(n for kind in (list, tuple, str, bytes, dict, set, int, float, collections.deque, collections.Counter) for n in dir(kind))
