"""Pictures with a region marked, to be described."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from PIL import ImageDraw

from foveal.core import Box
from recipes.benchmarks.item import Item, PictureOf
from recipes.benchmarks.records import Records
from recipes.reading.pictures import read_picture


@dataclass(frozen=True)
class MarkedPicture:
    """A picture with a red box, as lmms-eval draws it.

    Attributes:
        picture: without the box.
        box: what is marked.
    """

    picture: PictureOf
    box: Box

    @property
    def name(self) -> str:
        return f"{self.picture.name} {','.join(f'{each:.17g}' for each in self.box)}"

    def find(self) -> bytes:
        image, stream = read_picture(self.picture.find()).copy(), BytesIO()
        ImageDraw.Draw(image).rectangle(tuple(self.box), outline="red")
        image.save(stream, "png")
        return stream.getvalue()


class RegionRecords(Records):
    """Questions about the region that is marked in their pictures.

    Args:
        records: with the value `box`.
    """

    def __init__(self, records: Records) -> None:
        self.records = records

    def items(self, folder: Path) -> Iterator[Item]:
        for item in self.records.items(folder):
            pictures = tuple(MarkedPicture(picture, item.values["box"]) for picture in item.pictures)
            yield replace(item, pictures=pictures)
