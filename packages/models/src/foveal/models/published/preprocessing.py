"""transformers' settings of how pictures become views: preprocessor_config.json, or a part of processor_config.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.core.annotations import fits
from foveal.encoders.encoder import Colour
from foveal.models.published.image_processors import CLIP, DEFAULTS, DEFAULTS_OF, LLAVA
from foveal.models.published.json_file import read_json
from foveal.models.published.towers import fill_of
from foveal.models.views.native import NativePlan
from foveal.models.views.plan import ViewPlan
from foveal.models.views.square import CropToSquare, PadToSquare
from foveal.models.views.stretch import StretchToSquare

FILES = {"processor_config.json": "image_processor", "preprocessor_config.json": None}
"""File -> the key of the settings in it; if both have them, transformers takes the first."""
UNCHANGED: tuple[Colour, Colour] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Preprocessing:
    """The settings of a folder.

    Attributes:
        path: the file.
        settings: with defaults for those that the file does not have.
    """

    path: Path
    settings: Mapping[str, Any]

    def statistics(self) -> tuple[Colour, Colour]:
        """Mean and standard deviation of the colours.

        Raises:
            ValueError: if they are not three numbers each, or colours are not in 0..1 before.
        """
        factor = self.settings["rescale_factor"]
        if not self.settings["do_rescale"] or not isinstance(factor, float) or abs(factor - 1 / 255) > 1e-9:
            raise self.refused("rescale_factor", "only 1/255 is known, with do_rescale")
        if not self.settings["do_normalize"]:
            return UNCHANGED
        return self._colour("image_mean"), self._colour("image_std")

    def fill(self) -> tuple[int, int, int]:
        """The colour of padding, which is not that of `statistics` if pictures are not normalised.

        Raises:
            ValueError: if it is not three numbers.
        """
        return fill_of(self._colour("image_mean"))

    def square(self, size: int) -> ViewPlan:
        """The plan of one square view.

        Args:
            size: the side that the image tower takes, in pixels.

        Raises:
            ValueError: if the settings make other views; the message names the setting.
        """
        side, is_square = self._resized()
        if not self.settings["do_resize"]:
            raise self.refused("do_resize", f"the tower takes views of {size} pixels a side")
        padded = self.settings["image_processor_type"] == LLAVA and self.settings["do_pad"]
        if self.settings["do_center_crop"]:
            self._check_crop(side)
        elif not padded and not is_square:
            raise self.refused("do_center_crop", "without it, and without do_pad, views are not square")
        if side != size:
            raise self.refused("size", f"the tower takes views of {size} pixels a side")
        if padded:
            return PadToSquare(size, fill=self.fill())
        return StretchToSquare(size) if is_square else CropToSquare(size)

    def check_tiles(self, size: int) -> None:
        """Refuse tiles and an overview other than of `size` pixels a side, as LLaVA-NeXT has them.

        Raises:
            ValueError: naming the setting.
        """
        side, _ = self._resized()
        if side != size:
            raise self.refused("size", f"the tower takes views of {size} pixels a side")
        self._check_crop(side)

    def side(self) -> int:
        """The side of the square that pictures are resized to, by a processor that never crops.

        Raises:
            ValueError: if they are not resized, or to another shape; the message names the setting.
        """
        side, is_square = self._resized()
        if not is_square:
            raise self.refused("size", "only a square is known")
        self.check("do_resize", True)
        return side

    def check_side(self, size: int) -> None:
        """Refuse another `side` than the image tower takes.

        Raises:
            ValueError: naming the setting.
        """
        if self.side() != size:
            raise self.refused("size", f"the tower takes views of {size} pixels a side")

    def require(self, key: str, value: object, reason: str) -> None:
        """Refuse a setting with another value than `value`.

        Raises:
            ValueError: naming the setting and the reason.
        """
        if self.settings[key] != value:
            raise self.refused(key, reason)

    def check(self, key: str, known: object) -> None:
        """Refuse any other value of a setting than `known`.

        Raises:
            ValueError: naming the setting.
        """
        self.require(key, known, f"only {known!r} is known")

    def count(self, key: str) -> int:
        """A setting that is a whole number, at least 1.

        Raises:
            ValueError: naming the setting.
        """
        value = self.settings[key]
        if not isinstance(value, int) or value < 1:
            raise self.refused(key, "expected is a whole number, at least 1")
        return value

    def tiles(self) -> tuple[int, int]:
        """The fewest and the most tiles of a picture, as GOT-OCR 2.0 and InternVL have them; (1, 1): it is not cut.

        Raises:
            ValueError: naming the setting.
        """
        fewest, most = self.settings["min_patches"], self.settings["max_patches"]
        if not self.settings["crop_to_patches"] or most == 1:
            return 1, 1
        if not (isinstance(most, int) and most > 1):
            raise self.refused("max_patches", "expected is a whole number of tiles, at least 1")
        if not (isinstance(fewest, int) and 1 <= fewest <= most):
            raise self.refused("min_patches", f"expected is a whole number of tiles from 1 to max_patches {most}")
        return fewest, most

    def native(self, *, patch_size: int, merge_size: int, frames: int) -> ViewPlan:
        """The plan of one view in the picture's own resolution, as Qwen2-VL and Qwen3-VL have it.

        Args:
            patch_size: pixels along one side of the tower's patches.
            merge_size: patches along one side that become one token.
            frames: frames of a patch.

        Raises:
            ValueError: if the settings make other views; the message names the setting.
        """
        wanted = {"patch_size": patch_size, "merge_size": merge_size, "temporal_patch_size": frames}
        for key, value in wanted.items():
            self.require(key, value, f"only {value} goes with the tower")
        for key, value in {"do_resize": True, "resample": 3}.items():
            self.check(key, value)
        size = self.settings["size"]
        size = {key: value for key, value in size.items() if value is not None} if isinstance(size, Mapping) else size
        if not fits(size, Mapping[str, int]) or set(size) != {"shortest_edge", "longest_edge"}:
            raise self.refused("size", "expected are numbers of pixels, shortest_edge and longest_edge")
        fewest = self.settings.get("min_pixels", size["shortest_edge"])
        most = self.settings.get("max_pixels", size["longest_edge"])
        try:
            return NativePlan(patch_size * merge_size, fewest, most)
        except (ValueError, TypeError) as error:
            raise self.refused("size", str(error)) from error

    def refused(self, key: str, reason: str) -> ValueError:
        """The error about a setting that cannot be honoured, and why."""
        return ValueError(f"{self.path}: {key} is {self.settings[key]!r:.80}, which cannot be honoured: {reason}")

    @property
    def pinpoints(self) -> Any:
        """LLaVA-NeXT's canvases in pixels; None if the file has none."""
        return self.settings.get("image_grid_pinpoints")

    def _resized(self) -> tuple[int, bool]:
        """The side that pictures are resized to, and whether both sides are (else the shorter one)."""
        if self.settings["resample"] != 3:
            raise self.refused("resample", "only 3 (bicubic) is known")
        size = self.settings["size"]
        if isinstance(size, int):
            return size, False
        if isinstance(size, Mapping) and set(size) == {"shortest_edge"}:
            return size["shortest_edge"], False
        if isinstance(size, Mapping) and set(size) == {"height", "width"} and size["height"] == size["width"]:
            return size["height"], True
        raise self.refused("size", "only a square and shortest_edge are known")

    def _check_crop(self, side: int) -> None:
        crop = self.settings["crop_size"]
        if crop not in (None, side, {"height": side, "width": side}):
            raise self.refused("crop_size", f"only the {side} pixels of size are known")

    def _colour(self, key: str) -> Colour:
        value = self.settings[key]
        if not fits(value, Colour) or (key == "image_std" and min(value) <= 0):
            raise self.refused(key, "expected are three numbers, deviations above 0")
        red, green, blue = (float(each) for each in value)
        return red, green, blue


def preprocessing_of(folder: Path, kinds: Sequence[str]) -> Preprocessing | None:
    """The settings in a folder; None if it has none.

    Args:
        folder: in transformers' layout.
        kinds: known values of `image_processor_type`, whose suffixes Fast and Pil do not matter.

    Raises:
        ValueError: if the file is damaged, or describes another kind.
    """
    for name, key in FILES.items():
        path = folder / name
        if not path.is_file():
            continue
        found = read_json(path)
        if key is not None and isinstance(found, dict):
            found = found.get(key)
            if found is None:
                continue
        if not isinstance(found, dict):
            raise ValueError(f"{path} is damaged: settings of pictures are expected, it holds {found!r:.80}")
        given = {key: value for key, value in found.items() if value is not None}
        kind = str(given.get("image_processor_type", CLIP)).removesuffix("Fast").removesuffix("Pil")
        if kind not in kinds:
            raise ValueError(f"{path}: image_processor_type is {kind!r}, known are {', '.join(kinds)}")
        return Preprocessing(path, {**DEFAULTS, **DEFAULTS_OF.get(kind, {}), **given, "image_processor_type": kind})
    return None
