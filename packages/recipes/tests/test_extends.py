"""`extends` in configurations: which files, in which order, and what is refused."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.command_line.arguments import prepare
from recipes.command_line.configurations import (
    CONFIGS,
    UsageError,
    expand,
    find_config,
    merged,
    shipped_name,
    without_extends,
)
from recipes.command_line.spelling import check_spelling


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes configurations into a folder that becomes the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(**files):
        for name, content in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return tmp_path

    return write


def names(name):
    return [shipped_name(file) for file in expand(Path(find_config(name)))]


def test_one_name_or_several_in_their_order(write):
    write(a={}, b={"extends": "a"}, c={}, d={"extends": ["c.yaml", "b"]})
    assert names("d.yaml") == ["c.yaml", "a.yaml", "b.yaml", "d.yaml"]
    assert names("a") == ["a.yaml"]
    write(a={"extends": []})
    assert names("a") == ["a.yaml"]


def test_a_file_reached_twice_is_there_once(write):
    write(a={}, b={"extends": "a"}, c={"extends": "a"}, d={"extends": ["b", "c"]})
    assert names("d.yaml") == ["a.yaml", "b.yaml", "c.yaml", "d.yaml"]
    typed = prepare(["--config", "b.yaml", "--config", "c.yaml", "--config", "b.yaml"]).arguments
    assert [Path(word).stem for word in typed[1::2]] == ["a", "b", "c", "b"]  # typed again, it counts again


def test_names_are_looked_for_beside_the_file_first(write, tmp_path):
    write(sub__mine={"extends": ["base", "other", "uhd"]}, sub__base={}, base={}, other={}, uhd={})
    assert names("sub/mine") == ["sub/base.yaml", "other.yaml", "uhd.yaml", "sub/mine.yaml"]
    assert expand(tmp_path / "sub/mine.yaml")[0] == tmp_path / "sub/base.yaml"


def test_shipped_ones_extend_shipped_ones_only(write):
    """A file of the same name in the working directory is not used."""
    write(laptop={"a": 1}, vicuna_7b={"a": 1}, llava={"a": 1})
    assert all(file.is_relative_to(CONFIGS) for file in expand(Path(find_config("uhd"))))
    assert all(file.is_relative_to(CONFIGS) for file in expand(Path(find_config("uhd/13b"))))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a": "extends: a"}, r"a\.yaml: extends a: it extends itself \(a\.yaml -> a\.yaml\)"),
        (
            {"a": "extends: b", "b": "extends: [laptop, c]", "c": "extends: a.yaml"},
            r"c\.yaml: extends a\.yaml: it extends itself \(a\.yaml -> b\.yaml -> c\.yaml -> a\.yaml\)",
        ),
        ({"a": "extends: lptop"}, r"a\.yaml: extends lptop: there is no such file .* did you mean laptop\.yaml\?"),
        ({"a": "extends: b", "b": "extends: zzz"}, r"b\.yaml: extends zzz: .*\(a\.yaml -> b\.yaml\)$"),
        ({"a": "extends: https://example.org/b.yaml"}, r"a\.yaml: extends https.*is not fetched"),
        ({"a": "extends: 3"}, r"a\.yaml: extends is 3: give the name of a configuration, or a list of names"),
        ({"a": "extends:"}, "extends is None: give the name"),
        ({"a": "extends: [laptop, 1]"}, "give the name"),
        ({"a": "extends: {b: c}"}, "give the name"),
    ],
)
def test_faults(write, files, said):
    write(**files)
    with pytest.raises(UsageError, match=said) as refused:
        prepare(["--config", "a.yaml"])
    assert len(str(refused.value).splitlines()) <= 4


@settings(max_examples=60, deadline=None)
@given(edges=st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6))))
def test_every_graph_is_put_in_order_or_refused(tmp_path_factory, edges):
    """Without a cycle, every file comes once, after everything that it extends; a cycle is refused."""
    folder = tmp_path_factory.mktemp("graph")
    for number in range(7):
        below = [str(other) for one, other in sorted(edges) if one == number]
        (folder / f"{number}.yaml").write_text(yaml.safe_dump({"extends": below}))
    reached, fresh = {0}, {0}
    while fresh:
        fresh = {other for one, other in edges if one in fresh} - reached
        reached |= fresh
    inside = {edge for edge in edges if edge[0] in reached}
    try:
        found = [int(file.stem) for file in expand(folder / "0.yaml")]
    except UsageError:
        left = set(reached)
        while ends := {number for number in left if not any(one == number and other in left for one, other in inside)}:
            left -= ends
        assert left  # a cycle
        return
    assert sorted(found) == sorted(reached)
    assert all(found.index(other) < found.index(one) for one, other in inside)


def test_a_chain_that_is_too_long(write):
    write(**{f"a{number}": f"extends: a{number + 1}" for number in range(60)}, a60="")
    with pytest.raises(UsageError, match=r"a0\.yaml: more than 50 configurations extend each other"):
        names("a0")


@pytest.mark.parametrize("text", ["", "- 1", "{", "extends: [", "model:\n  extends: laptop\n"])
def test_strange_files_are_left_to_the_parser(write, text):
    write(a=text)
    assert names("a") == ["a.yaml"]


def test_what_a_file_says_itself():
    assert yaml.safe_load(without_extends("extends: laptop\na: {extends: 1}\n", "a.yaml")) == {"a": {"extends": 1}}
    quoted = "a: '1e5'\nb: &b [1, '2']\nc: *b\n"
    assert yaml.safe_load(without_extends(f"extends: laptop\n{quoted}", "a.yaml")) == yaml.safe_load(quoted)
    for text in ("a: extends  # as it is\n", "- extends\n", ""):
        assert without_extends(text, "a.yaml") == text


def test_merged(write):
    write(
        a={"model": {"x": {"class_path": "A", "init_args": {"p": 1, "q": 1}}, "y": 1}},
        b={"extends": "a", "model": {"x": {"init_args": {"q": 2}}}},
        c={"extends": "b", "model": {"x": {"class_path": "C", "init_args": {"r": 3}}}},
    )
    assert merged("b") == {"model": {"x": {"class_path": "A", "init_args": {"p": 1, "q": 2}}, "y": 1}}
    assert merged("c.yaml") == {"model": {"x": {"class_path": "C", "init_args": {"r": 3}}, "y": 1}}
    assert merged("a", "c") == merged("c")


def test_misspelt_settings_of_extended_files_are_found(write):
    write(base="trainer:\n  max_stepz: 3\n", mine="extends: [uhd, base]\n", nested="model:\n  extends: uhd\n")
    with pytest.raises(UsageError, match=r"^base\.yaml: trainer\.max_stepz: .* did you mean trainer\.max_steps"):
        check_spelling(prepare(["--config", "mine.yaml"]).arguments, "fit")
    with pytest.raises(UsageError, match=r"^nested\.yaml: model\.extends: there is no setting extends"):
        check_spelling(prepare(["--config", "nested.yaml"]).arguments, "fit")


def test_the_beginning_of_the_option_is_enough(write):
    write(mine="extends: uhd\n")
    assert prepare(["--conf", "mine.yaml"]).arguments == prepare(["--config=mine.yaml"]).arguments
