"""YAML of strangers: the same values, or a refusal at once."""

import multiprocessing
import resource
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from foveal.limited_yaml import MAX_BYTES, MAX_DEPTH, MAX_VALUES, load_yaml, read_yaml

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_values_are_those_that_were_written(value):
    assert load_yaml(yaml.safe_dump({"a": value, "again": [value, value]}), source="") == {
        "a": value,
        "again": [value, value],
    }


def test_aliases_and_merges_as_people_write_them():
    text = "size: &size {width: 8, depth: 2}\nsmall: *size\nlarge: {<<: *size, depth: 4}\n"
    assert load_yaml(text, source="") == yaml.safe_load(text)


def test_limits_are_reached_exactly():
    fits = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert load_yaml(fits, source="") == yaml.safe_load(fits)
    with pytest.raises(ValueError, match="refused"):
        load_yaml(f"[{fits}]", source="")
    many = [0] * (MAX_VALUES - 1)
    assert load_yaml(str(many), source="") == many
    with pytest.raises(ValueError, match="refused"):
        load_yaml(str([*many, 0]), source="")


def bomb(first, item):
    lines = [f"{item.format(', '.join([f'*a{number - 1}'] * 10))}" for number in range(1, 12)]
    return "\n".join(f"a{number}: &a{number} {line}" for number, line in enumerate([first, *lines]))


LEVELS = 30_000
HOSTILE = {
    "aliases": (bomb("[x, y]", "[{}]"), r"line 5: refused \(more than 20,000 values"),
    "merges": (bomb("{x: y}", "{{<<: [{}]}}"), r"line 5: refused \(more than 20,000 values"),
    "chain": (
        "\n".join(f"a{n}: &a{n} [{f'*a{n - 1}' if n else 1}]" for n in range(300)),
        r"line 49: refused \(more than 50 levels",
    ),
    "list in itself": ("a: &a\n- *a", r"line 2: refused \(\*a is within itself\)"),
    "mapping in itself": ("&a {b: [*a]}", r"line 1: refused \(\*a is within itself\)"),
    "key of itself": ("&a {*a : 1}", r"line 1: refused \(\*a is within itself\)"),
    "brackets": ("[" * LEVELS, "line 1: refused"),
    "closed brackets": ("[" * LEVELS + "]" * LEVELS, "line 1: refused"),
    "mappings": ("{a: " * LEVELS, "line 1: refused"),
    "dashes": ("- " * LEVELS, "line 1: refused"),
    "keys": ("? " * LEVELS, "line 1: refused"),
    "many values": ("- 1\n" * 200_000, "line 20000: refused"),
    "size": ("#" * (MAX_BYTES + 1), r"refused \(more than 1,000,000 (characters|bytes)"),
    "sixties": ("1:" * 400_000 + "1", "line 1: refused"),
    "digits": ("9" * 900_000, "line 1: refused"),
    "date": ("a: 2020-99-99", r"line 1: not YAML \(not a valid timestamp"),
    "empty number": ("!!float ''", r"line 1: not YAML \(not a valid float"),
    "no boolean": ("!!bool perhaps", r"line 1: not YAML \(not a valid bool"),
    "code": ("!!python/object/apply:os.system [ls]", "line 1: not YAML"),
    "two": ("--- a\n--- b", "line 2: not YAML"),
    "control character": ("a\0b", "not YAML"),
    "unknown alias": ("*a", "line 1: not YAML"),
}


def reading(path, sender):
    """In a process of its own, which may take 300 MB more and 5 s."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 300_000_000,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
    try:
        sender.send(repr(read_yaml(path))[:80])
    except ValueError as error:
        sender.send(error)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(tmp_path, name):
    text, message = HOSTILE[name]
    path = tmp_path / "config.yaml"
    path.write_text(text)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=reading, args=(path, sender))
    process.start()
    sender.close()
    answer = receiver.recv()
    process.join()
    assert process.exitcode == 0
    with pytest.raises(ValueError, match=rf"config\.yaml(, |: ){message}"):
        raise answer
    assert len(str(answer).splitlines()) == 1


def test_what_cannot_be_read(tmp_path):
    (tmp_path / "wide.yaml").write_text(f"a: {'é' * (MAX_BYTES // 2)}\nb: 2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"wide\.yaml: refused \(more than 1,000,000 bytes\)"):
        read_yaml(tmp_path / "wide.yaml")
    for name, content, message in (("latin", b"\xe9", "UTF-8"), ("cut", "é".encode()[:1], "UTF-8")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}.*{message}"):
            read_yaml(tmp_path / name)
    with pytest.raises(ValueError, match="none cannot be read: No such file"):
        read_yaml(tmp_path / "none")
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)
