"""Change valid inputs: bytes of files, and values of JSON and YAML."""

import copy
import random
from typing import Any

NAMES = (
    *("../secret/secret.png", "secret/../../secret/secret.png", "/etc/passwd", "link.png", "linked/secret.png"),
    *(
        "https://example.org/a.png",
        "file:///etc/passwd",
        "s3://bucket/a",
        "memory://a",
        "",
        ".",
        "..",
        "a\0b",
        "x" * 5000,
    ),
    *("~/a.png", "CON", "a.png#page=1", "data:image/png;base64,AAAA", "data:text/html,x", "\ud800", "\u2028", "é"),
)
CODE = (
    *("os.system", "subprocess.Popen", "builtins.exec", "torch.load", "torch.hub.load", "evil.Evil", "evil"),
    *("torch.utils.cpp_extension.load_inline", "transformers.pipeline", "foveal.core.build", "foveal.models.save"),
    *("functools.partial", "recipes.commands.merge.merge", "kernels-community/flash-attn2", "evil.Evil--evil"),
)
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**40, -0.5, 1e308, float("nan"), float("inf")),
    *("", " ", "<image>", "<image>" * 3000, "0", "null", "a" * 100_000, [], {}, [[]], [None], {"a": []}, {"": ""}),
    *({"class_path": "evil.Evil", "init_args": {}}, {"class_path": "os.system"}, [0] * 5000, {"from": "human"}),
)
KEYS = ("class_path", "init_args", "auto_map", "_attn_implementation", "image", "images", "conversations", "extends")


def changed_bytes(content: bytes, draw: random.Random) -> bytes:
    """The content with one to four changes: flipped, removed, repeated, inserted or cut."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        if not data:
            return b""
        place, length = draw.randrange(len(data)), draw.choice((1, 1, 2, 4, 8, 64, 512))
        match draw.randrange(7):
            case 0:
                data[place] ^= 1 << draw.randrange(8)
            case 1:
                data[place : place + length] = draw.randbytes(min(length, len(data) - place))
            case 2:
                del data[place : place + length]
            case 3:
                data[place:place] = data[place : place + length] * draw.choice((1, 3, 50))
            case 4:
                data[place : place + 4] = draw.choice(
                    (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\1\0\0")
                )
            case 5:
                del data[place:]
            case 6:
                data[place:place] = draw.choice((b"\0", b"\n", b"\xef\xbb\xbf", b"[" * 3000, b'{"a":' * 200, b"&a *a"))
    return bytes(data)


def changed_value(value: Any, draw: random.Random) -> Any:
    """A copy of a value of lists, mappings and scalars, with one to three changes anywhere inside."""
    whole = [copy.deepcopy(value)]
    for _ in range(draw.randint(1, 3)):
        places = list(_places(whole))
        inside, key = draw.choice(places)
        match draw.randrange(6):
            case 0 | 1:
                inside[key] = draw.choice(ODD)
            case 2:
                inside[key] = draw.choice(NAMES + CODE)
            case 3 if inside is not whole:
                del inside[key]
            case 4 if isinstance(inside, dict):
                inside[draw.choice(KEYS + tuple(map(str, inside)))] = draw.choice(ODD + NAMES + CODE)
            case _:
                other, place = draw.choice(places)
                inside[key] = copy.deepcopy(other[place])
    return whole[0]


def _places(value: Any) -> Any:
    """Every list or mapping inside of a value, with each of its indices or keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])
