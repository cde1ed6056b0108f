"""Whether the measures of the code see what is too long, too large or goes round."""

from __future__ import annotations

from pathlib import Path

import pytest

from checks.shape import (
    Module,
    Shape,
    attributes,
    import_cycle,
    methods,
    read_package,
    shared_names,
)


def planted(text: str) -> Module:
    """A module with that text."""
    return Module("kernel/planted.py", text)


def body(lines: int) -> str:
    """A function that has so many lines beside its docstring."""
    steps = "".join(f"    step({number})\n" for number in range(lines - 1))
    return f'def work():\n    """What it does.\n\n    At length.\n    """\n{steps}\n\n'


def broken(module: Module) -> list[str]:
    """What is broken in a package of that module alone."""
    return [*Shape("kernel", [module]).broken()]


def test_a_docstring_is_not_counted() -> None:
    [function] = planted(body(5)).functions
    assert (function.name, function.lines) == ("work", 5)


def test_functions_inside_of_others_have_full_names() -> None:
    module = planted("class A:\n    def b(self):\n        def c(): return 1\n        return c\n")
    assert [function.name for function in module.functions] == ["A.b", "A.b.c"]


def test_what_a_protocol_announces_is_no_function() -> None:
    text = 'class A(Protocol):\n    def b(self):\n        """What it does."""\n        ...\n'
    assert planted(text).functions == []


@pytest.mark.parametrize(("lines", "whole"), [(40, True), (41, False)])
def test_the_longest_function(lines: int, whole: bool) -> None:
    found = broken(planted(body(2) * 20 + body(lines)))
    assert found == ([] if whole else ["kernel/planted.py:work: 41 lines, not 40"])


def test_the_median_and_the_tail() -> None:
    assert broken(planted(body(7) * 9 + body(18))) == []
    assert len(broken(planted(body(8) * 10))) == 1
    assert len(broken(planted(body(2) * 8 + body(19) * 2))) == 1


def test_a_large_file() -> None:
    function, line = "def f(): return 1\n", "x = 1\n"
    assert broken(planted(function + line * 399)) == []
    assert broken(planted(function + line * 400)) == ["kernel/planted.py: 401 lines, not 400"]


def test_a_large_class() -> None:
    many = "".join(f"    def m{n}(self):\n        self.a{n} = {n}\n" for n in range(21))
    assert broken(planted(f"class A:\n{many}")) == [
        "kernel/planted.py:A: 21 attributes, not 12",
        "kernel/planted.py:A: 21 methods, not 20",
    ]
    [node] = planted(f"class A:\n{many}").classes
    assert (len(attributes(node)), len(methods(node))) == (21, 21)


@pytest.mark.parametrize(
    "head", ["@dataclass(slots=True)\nclass A", "class A(NamedTuple)", "class A(t.Protocol[T])"]
)
def test_records_and_protocols_are_excepted(head: str) -> None:
    many = "".join(f"    def m{n}(self):\n        self.a{n} = {n}\n" for n in range(21))
    assert broken(planted(f"{head}:\n{many}")) == []


def cycle(root: Path, **texts: str) -> list[str] | None:
    """The cycle in a package of these modules."""
    folder = root / "kernel"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return import_cycle(read_package("kernel", root))


def test_imports_that_go_round_are_found(tmp_path: Path) -> None:
    found = cycle(
        tmp_path,
        one="from kernel import two",
        two="def f():\n    from kernel.three import x",
        three="import kernel.one",
    )
    assert found is not None
    assert {*found} == {"kernel.one", "kernel.two", "kernel.three"}


def test_imports_for_the_type_checker_do_not_count(tmp_path: Path) -> None:
    guarded = "if TYPE_CHECKING:\n    from kernel.one import x"
    assert cycle(tmp_path, one="from kernel import two", two=guarded) is None


def test_classes_that_share_a_name_are_found() -> None:
    one, two = Module("kernel/one.py", "class A: ..."), Module("shell/two.py", "class A: ...")
    assert shared_names([one, two]) == {"A": ["kernel/one.py", "shell/two.py"]}
    assert shared_names([one, Module("shell/two.py", "class B: ...")]) == {}


def test_private_and_inner_classes_may_share_a_name() -> None:
    text = "class _A: ...\nclass {}:\n    class B: ..."
    modules = [Module("kernel/one.py", text.format("C")), Module("kernel/two.py", text.format("D"))]
    assert shared_names(modules) == {}
