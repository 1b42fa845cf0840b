"""Fonts of Debian packages: where their files are, and which characters they have."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from recipes.data.printed.texts import ALPHABET

BUILT_IN = "matplotlib"
"""Stands for the DejaVu fonts that come with matplotlib: they are there without any package."""
FOLDER = Path("/usr/share/fonts")
FILES = {
    "fonts-anonymous-pro": "truetype/anonymous-pro/Anonymous Pro*",
    "fonts-b612": "opentype/b612/*",
    "fonts-cabin": "opentype/cabin/*",
    "fonts-cantarell": "opentype/cantarell/*",
    "fonts-courier-prime": "opentype/courier-prime/*",
    "fonts-crosextra-caladea": "truetype/crosextra/Caladea*",
    "fonts-crosextra-carlito": "truetype/crosextra/Carlito*",
    "fonts-dejavu-core": "truetype/dejavu/DejaVu*",
    "fonts-ebgaramond": "opentype/ebgaramond/*",
    "fonts-freefont-ttf": "truetype/freefont/*",
    "fonts-hack": "truetype/hack/*",
    "fonts-inconsolata": "truetype/inconsolata/*",
    "fonts-jetbrains-mono": "truetype/jetbrains-mono/*",
    "fonts-karla": "truetype/karla/*",
    "fonts-lato": "truetype/lato/*",
    "fonts-liberation": "truetype/liberation/*",
    "fonts-linuxlibertine": "opentype/linux-libertine/Lin*_R*",
    "fonts-mononoki": "truetype/mononoki/*",
    "fonts-noto-mono": "truetype/noto/Noto*Mono*",
    "fonts-oldstandard": "truetype/fonts-oldstandard/*",
    "fonts-open-sans": "truetype/open-sans/*",
    "fonts-play": "truetype/play/*",
    "fonts-roboto-unhinted": "truetype/roboto/unhinted/**/*",
    "fonts-sil-gentium-basic": "truetype/gentium-basic/*",
    "fonts-vollkorn": "truetype/vollkorn/*",
}
"""Debian's package -> its files, below `FOLDER`. fonts-dejavu-extra has further faces in the folder of -core."""
HELD_OUT = ("fonts-crosextra-caladea", "fonts-noto-mono", "fonts-open-sans", "fonts-vollkorn")
"""A serif, a monospaced, a sans-serif and a heavier serif family that no training font is derived from."""
TRAINING = tuple(package for package in FILES if package not in HELD_OUT)
UNUSUAL = ("Thin", "Hairline", "ExtraLight", "Math", "Display")
"""In names of files: too faint to read in small print, or no font for text."""


def faces(packages: Sequence[str]) -> tuple[Path, ...]:
    """The font files of some packages, in a fixed order, without those that lack a character.

    Args:
        packages: names of Debian packages in `FILES`, or `BUILT_IN`.

    Raises:
        ValueError: if there is no package, a name is unknown, or a package is not installed; naming all of these.
    """
    return _faces(tuple(packages))


@lru_cache(maxsize=16)
def _faces(packages: tuple[str, ...]) -> tuple[Path, ...]:
    if unknown := [package for package in packages if package not in (*FILES, BUILT_IN)]:
        raise ValueError(f"fonts: {', '.join(unknown)}: only {BUILT_IN}, {', '.join(FILES)} are known")
    found = {package: _files(package) for package in packages}
    if missing := [package for package, files in found.items() if not files]:
        raise ValueError(
            f"fonts are missing: apt-get install {' '.join(missing)}\n"
            f"(or choose others with --data.printing.fonts; {BUILT_IN} is always there)"
        )
    result = tuple(file for files in found.values() for file in files if _has_all_characters(file))
    if not result:
        raise ValueError("fonts: name at least one package")
    return result


def _files(package: str) -> list[Path]:
    if package == BUILT_IN:
        import matplotlib

        pattern, folder = "DejaVu*.ttf", Path(matplotlib.get_data_path()) / "fonts/ttf"
    else:
        pattern, folder = FILES[package], FOLDER
    return sorted(
        file
        for file in folder.glob(pattern)
        if file.suffix in (".ttf", ".otf") and not any(word in file.stem for word in UNUSUAL)
    )


def _has_all_characters(file: Path) -> bool:
    """Whether no character looks like one that no font has."""
    font = font_of(file, 24)
    absent = bytes(font.getmask("\U000f1234"))
    return all(bytes(font.getmask(character)) != absent for character in ALPHABET if character != " ")


@lru_cache(maxsize=512)
def font_of(file: Path, size: int) -> ImageFont.FreeTypeFont:
    """A font of this size in pixels, without ligatures."""
    return ImageFont.truetype(str(file), size, layout_engine=ImageFont.Layout.BASIC)
