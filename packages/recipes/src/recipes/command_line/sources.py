"""Read the parameters of classes and functions from source files, without importing them."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

HARMLESS = ("_defaults_from_env_vars",)
"""Decorators that do not change a signature: the one that Lightning uses on the Trainer."""
LONGEST_CHAIN = 20
"""Most imports followed to a definition, so that circular ones end."""


@dataclass(frozen=True)
class Parameter:
    """A parameter, with its annotation as written in `module`; None if that does not determine what it accepts."""

    module: str
    annotation: ast.expr | None = None


Definition = ast.ClassDef | ast.FunctionDef
Parameters = Mapping[str, Parameter]


@cache
def parameters(dotted: str) -> Parameters | None:
    """The named parameters of `package.module.Name`; None if its source alone does not determine them.

    They are determined for plain functions, plain classes with an `__init__` (or one inherited from a single such
    class) and dataclasses, unless they take `*args` or `**kwargs`.
    """
    module, _, name = dotted.rpartition(".")
    found = definition(module, name)
    if found is None:
        return None
    where, node = found
    if isinstance(node, ast.FunctionDef):
        return _of_function(where, node)
    inside = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    if "__new__" in inside or node.keywords:
        return None
    if node.decorator_list:
        return _of_dataclass(where, node) if "__init__" not in inside else None
    if "__init__" in inside:
        taken = _of_function(where, inside["__init__"])
        return None if taken is None else dict(list(taken.items())[1:])
    return _of_base(where, node)


def class_parameters(parameter: Parameter) -> Parameters | None:
    """The parameters of the class in a parameter's type, alone or with None; None if the type names no class."""
    names = [part for part in _members(parameter.annotation) if not _is_none(part)]
    if len(names) != 1 or not isinstance(names[0], ast.Name):
        return None
    found = definition(parameter.module, names[0].id)
    if found is None or not isinstance(found[1], ast.ClassDef):
        return None
    return parameters(f"{found[0]}.{found[1].name}")


def literal(module: str, name: str) -> tuple[str, ...]:
    """The strings of `name = Literal[...]` at the top level of a module.

    Raises:
        LookupError: if there is no such line.
    """
    for node in () if (tree := parsed(module)) is None else tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Subscript(value=ast.Name(id="Literal"), slice=of)):
                if target == name:
                    texts = ast.literal_eval(of)
                    return texts if isinstance(texts, tuple) else (texts,)
    raise LookupError(f"{module} has no line {name} = Literal[...]")


@cache
def parsed(module: str) -> ast.Module | None:
    """The parsed source of a module; None if it cannot be found without importing its parent packages."""
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = [Path(folder) for folder in spec.submodule_search_locations or ()]
    stems = [place.joinpath(*rest) for place in places]
    files = [file for stem in stems for file in (stem / "__init__.py", stem.with_name(f"{stem.name}.py"))]
    if not rest and not places:
        files = [Path(spec.origin or "")]
    for file in files:
        if file.suffix == ".py" and file.is_file():
            try:
                return ast.parse(file.read_bytes())
            except (SyntaxError, ValueError):
                return None
    return None


def definition(module: str, name: str, chain: int = 0) -> tuple[str, Definition] | None:
    """The module and node where a name is defined, following imports between modules.

    None if it is bound more than once, or in any way other than by one `class`, `def` or `from ... import`.
    """
    tree = parsed(module)
    bindings = [] if tree is None else [node for bound, node in _bindings(tree.body) if bound == name]
    if len(bindings) != 1 or chain > LONGEST_CHAIN:
        return None
    node = bindings[0]
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return module, node
    if not isinstance(node, ast.ImportFrom):
        return None
    original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
    return definition(_imported_from(module, node), original, chain + 1)


def _imported_from(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    is_package = parsed(f"{module}.__init__") is not None
    package = module.split(".")
    package = package[: len(package) - node.level + is_package]
    return ".".join([*package, *([node.module] if node.module else [])])


def _bindings(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Names bound at the top level of a module; names bound in a branch come with the branch and stay undetermined.

    `if TYPE_CHECKING:` says where the names are defined that a module imports only when they are asked for.
    """
    for node in body:
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=checked, orelse=[]):
                yield from _bindings(checked)
            case ast.ClassDef() | ast.FunctionDef():
                yield node.name, node
            case ast.ImportFrom() | ast.Import():
                yield from ((alias.asname or alias.name.partition(".")[0], node) for alias in node.names)
            case _:
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                        yield inner.id, node
                    elif isinstance(inner, ast.stmt) and inner is not node:
                        yield from ((bound, node) for bound, _ in _bindings([inner]))


def _of_function(module: str, node: ast.FunctionDef) -> Parameters | None:
    arguments = node.args
    decorators = [each.id if isinstance(each, ast.Name) else "" for each in node.decorator_list]
    if arguments.vararg or arguments.kwarg or not set(decorators) <= set(HARMLESS):
        return None
    named = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(named) - len(arguments.defaults)), *arguments.defaults, *arguments.kw_defaults]
    return {
        each.arg: _parameter(module, each.annotation, default)
        for each, default in zip([*named, *arguments.kwonlyargs], defaults, strict=True)
    }


def _of_dataclass(module: str, node: ast.ClassDef) -> Parameters | None:
    called = [each.func if isinstance(each, ast.Call) else each for each in node.decorator_list]
    if [each.id for each in called if isinstance(each, ast.Name)] != ["dataclass"] or len(called) != 1:
        return None
    inherited = _of_base(module, node) if node.bases else {}
    if inherited is None:
        return None
    fields = {
        each.target.id: _parameter(module, each.annotation, each.value)
        for each in node.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    return {**inherited, **fields}


def _of_base(module: str, node: ast.ClassDef) -> Parameters | None:
    if len(node.bases) != 1 or not isinstance(node.bases[0], ast.Name):
        return None
    found = definition(module, node.bases[0].id)
    return None if found is None else parameters(f"{found[0]}.{found[1].name}")


def _parameter(module: str, annotation: ast.expr | None, default: ast.expr | None) -> Parameter:
    """The parameter, without annotation if its default may be of a subclass, which takes other arguments."""
    match default:
        case None | ast.Constant():
            return Parameter(module, annotation)
        case ast.Call(func=ast.Name(id=name)) if isinstance(annotation, ast.Name) and annotation.id == name:
            return Parameter(module, annotation)
    return Parameter(module)


def _members(annotation: ast.expr | None) -> list[ast.expr]:
    """The members of a union; any other type is its own only member."""
    match annotation:
        case None:
            return []
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return [*_members(left), *_members(right)]
        case ast.Subscript(value=ast.Name(id="Optional"), slice=of):
            return _members(of)
    return [annotation]


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
