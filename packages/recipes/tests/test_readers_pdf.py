"""Pages of PDF files as pictures."""

import json
import pickle
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from foveal.core import Size
from foveal.models import BadImageError
from recipes.answering.questions import QuestionFile, Unusable
from recipes.data.index.open_records import open_records
from recipes.reading.open_reader import open_reader
from recipes.reading.pdf import DPI, PdfPage, pdf_page
from recipes.reading.pictures import PictureFolder, picture_at, picture_size, read_picture

TALK = [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "1"}]
COLOURS = ["red", "lime", "blue"]


@pytest.fixture
def folder(tmp_path):
    """`three.pdf` with a page for each colour, 144 by 72 points, and `one.pdf`."""
    pages = [Image.new("RGB", (144, 72), colour) for colour in COLOURS]
    pages[0].save(tmp_path / "three.pdf", save_all=True, append_images=pages[1:], resolution=72)
    pages[0].save(tmp_path / "one.pdf", resolution=72)
    return tmp_path


def written(path, *objects, trailer=""):
    """Writes a PDF by hand: object 1 is the catalogue."""
    text, starts = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, start=1):
        starts.append(len(text))
        text += b"%d 0 obj\n%s\nendobj\n" % (number, content.encode())
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    text += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    end = f"trailer <</Size {len(objects) + 1} /Root 1 0 R {trailer}>>\nstartxref\n{text.index(b'xref')}\n%%EOF"
    path.write_bytes(text + end.encode())
    return path


def page(path, box, *objects, more="", catalogue="", trailer=""):
    """Writes a PDF of one page; its further objects have numbers from 4."""
    return written(
        path,
        f"<</Type /Catalog /Pages 2 0 R {catalogue}>>",
        "<</Type /Pages /Kids [3 0 R] /Count 1>>",
        f"<</Type /Page /Parent 2 0 R /MediaBox {box} {more}>>",
        *objects,
        trailer=trailer,
    )


def test_pages_by_number(folder):
    find = PictureFolder(folder).find
    for number, colour in enumerate(COLOURS, start=1):
        source = find(f"three.pdf#page={number}", "here")
        assert (source, str(source)) == (PdfPage(folder / "three.pdf", number), f"{folder}/three.pdf#page={number}")
        assert picture_at(folder / f"three.pdf#page={number}") == source
        assert picture_size(source) == Size(400, 200) == Size(144 * DPI // 72, 72 * DPI // 72)
        picture = read_picture(pickle.loads(pickle.dumps(source)))
        assert (picture.mode, picture.size) == ("RGB", (400, 200))
        assert picture.getpixel((200, 100)) == pytest.approx(ImageColor.getrgb(colour), abs=2)
    assert read_picture(find("one.pdf", "here")).tobytes() == read_picture(find("one.pdf#page=1", "here")).tobytes()


@given(st.text(min_size=1), st.integers(1, 10**8))
def test_names(name, number):
    assert pdf_page(f"{name}.PDF#page={number}") == PdfPage(picture_at(f"{name}.PDF").path, number)
    for other in (f"{name}.png", f"{name}.pdf#page=", f"{name}.pdf#page=-1", f"{name}.pdf#{number}", ".pdf"):
        assert pdf_page(other) is None


def test_what_is_drawn(tmp_path):
    """On white, turned upright, with annotations and the values of forms."""
    note = "<</Type /Annot /Subtype /Square /Rect [10 10 90 90] /F 4 /AP <</N 5 0 R>>>>"
    red = "<</Type /XObject /Subtype /Form /BBox [0 0 80 80] /Length 24>>\nstream\n1 0 0 rg 0 0 80 80 re f \nendstream"
    path = page(tmp_path / "note.pdf", "[0 0 100 200]", note, red, more="/Annots [4 0 R] /Rotate 90")
    picture = read_picture(picture_at(path))
    assert picture.size == (556, 278)
    assert picture_size(picture_at(path)) == Size(556, 278)
    assert (picture.getpixel((139, 139)), picture.getpixel((400, 139))) == ((255, 0, 0), (255, 255, 255))
    field = "<</Type /Annot /Subtype /Widget /FT /Tx /T (a) /V (X) /Rect [10 10 90 90] /F 4 /AP <</N 5 0 R>>>>"
    form = page(
        tmp_path / "form.pdf",
        "[0 0 100 100]",
        field,
        red,
        more="/Annots [4 0 R]",
        catalogue="/AcroForm <</Fields [4 0 R]>>",
    )
    assert read_picture(picture_at(form)).getpixel((139, 139)) != (255, 255, 255)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("three.pdf", "three.pdf has 3 pages: name one of them, such as three.pdf#page=1"),
        ("three.pdf#page=4", "three.pdf#page=4: there is no such page, pages are numbered from 1 to 3"),
        ("three.pdf#page=0", "three.pdf#page=0: there is no such page, pages are numbered from 1 to 3"),
        ("empty.pdf", "empty.pdf: damaged, or no PDF"),
        ("cut.pdf#page=1", "cut.pdf#page=1: damaged, or no PDF"),
        ("huge.pdf", "huge.pdf: 40000 x 40000 pixels at 200 dpi, more than the limit of 50000000"),
        ("long.pdf", "long.pdf: 66667 x 3 pixels at 200 dpi, more than .* a side of 65535"),
        ("none.pdf", "none.pdf: there is no such file"),
    ],
)
def test_pages_that_are_refused(folder, name, message):
    (folder / "empty.pdf").touch()
    (folder / "cut.pdf").write_bytes((folder / "three.pdf").read_bytes()[:100])
    page(folder / "huge.pdf", "[0 0 14400 14400]")
    page(folder / "long.pdf", "[0 0 24000 1]")
    for look in (picture_size, read_picture):
        with pytest.raises(BadImageError, match=message):
            look(picture_at(folder / name))


def test_a_password(tmp_path):
    code = f"/Filter /Standard /V 1 /R 2 /P -4 /O <{'41' * 32}> /U <{'42' * 32}>"
    path = page(tmp_path / "locked.pdf", "[0 0 9 9]", trailer=f"/Encrypt <<{code}>> /ID [<43> <43>]")
    with pytest.raises(BadImageError, match=r"locked\.pdf: it needs a password"):
        picture_size(picture_at(path))


def test_in_records_and_questions(folder):
    rows = [{"id": 1, "images": ["three.pdf#page=2", "one.pdf"], "messages": TALK}]
    (folder / "a.json").write_text(json.dumps(rows))
    (record,) = open_records(folder / "a.json")
    assert record.images == (PdfPage(folder / "three.pdf", 2), PdfPage(folder / "one.pdf"))
    assert open_reader(folder / "a.json").file("three.pdf#page=2") == folder / "three.pdf"
    (folder / "a.json").write_text(json.dumps([{**rows[0], "images": ["three.pdf"]}]))
    with pytest.raises(ValueError, match=r"a\.json, record 1 \(id 1\), image: .*three\.pdf has 3 pages"):
        open_records(folder / "a.json")
    (folder / "q.jsonl").write_text(json.dumps({"image": "../a.pdf#page=1", "question": "A?"}))
    with pytest.raises(ValueError, match=r"q\.jsonl, line 1, image: '\.\./a\.pdf#page=1' is outside"):
        QuestionFile(folder / "q.jsonl", folder, Unusable()).read()
    (folder / "q.jsonl").write_text(json.dumps({"image": "three.pdf#page=3", "question": "A?"}))
    file = QuestionFile(folder / "q.jsonl", folder, Unusable())
    (question,) = file.read()
    assert file.sources(question) == [PdfPage(folder / "three.pdf", 3)]


def test_without_pypdfium2(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(ImportError, match=r"reading PDF files needs pypdfium2: pip install 'foveal-recipes\[pdf\]'"):
        picture_size(picture_at(folder / "one.pdf"))
