"""Benchmarks of the table, read once, and pictures that tests recognise by their shade."""

import base64
import io
from functools import cache

from PIL import Image

from recipes.benchmarks.find import benchmark
from recipes.command_line.benchmarks import path_of
from recipes.reading.pictures import read_picture


@cache
def known(name):
    return benchmark(path_of(name))


def encoded(shade, size=(8, 6)):
    """The bytes of a grey picture."""
    stream = io.BytesIO()
    Image.new("RGB", size, (shade,) * 3).save(stream, "png")
    return stream.getvalue()


def embedded(shade):
    """A picture as data sets on the hub hold it."""
    return {"bytes": encoded(shade), "path": None}


def in_base64(shade):
    return base64.b64encode(encoded(shade)).decode()


def shades(item):
    """The shade of each of an item's pictures, which shows that it is the right one."""
    return [read_picture(picture.find()).getpixel((0, 0))[0] for picture in item.pictures]
