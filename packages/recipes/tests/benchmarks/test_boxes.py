"""RefCOCO in its layouts, boxes on padded pictures, marked regions, and pickles that are not plain."""

import collections
import pickle

import pytest
from packages.recipes.tests.benchmarks.files import encoded, shades
from packages.recipes.tests.page_reading import PageReader

from foveal.core import Box, Size
from recipes.benchmarks.rows.plain_pickle import read_plain_pickle
from recipes.evaluation.asked import Asked
from recipes.evaluation.page import show
from recipes.evaluation.results import Results
from recipes.reading.pictures import read_picture

SENTENCES = [{"raw": "the Left man", "sent": "the left man", "sent_id": 1, "tokens": []}, {"sent": "man", "sent_id": 2}]
DESCRIBES = "Please provide the bounding box coordinate of the region this sentence describes: the left man"


def refs(splits=("val", "train", "testA")):
    """A pickle of regions, and the pictures' sizes and boxes."""
    regions = [
        {"ref_id": number, "ann_id": 10, "image_id": 3, "split": split, "file_name": "x_1.jpg", "sentences": SENTENCES}
        for number, split in enumerate(splits, start=1)
    ]
    pictures = [{"id": 3, "file_name": "x.jpg", "width": 8, "height": 6}]
    notes = [{"id": 10, "image_id": 3, "bbox": [1.0, 2.0, 4.0, 3.0]}]
    files = {
        "refs(unc).p": pickle.dumps(regions, protocol=2),
        "instances.json": {"images": pictures, "annotations": notes},
    }
    return files | {"train2014/x.jpg": 60}


def check(items):
    assert items[0].values["box"] == Box(1, 2, 5, 5)
    assert items[0].values["size"] == Size(8, 6)
    assert (items[0].values["padded_box"], items[0].values["square"]) == (Box(1, 3, 5, 6), Size(8, 8))
    assert [shades(item) for item in items] == [[60]] * len(items)


def test_refcoco(ask, table):
    items = ask("refcoco", refs())
    assert [(item.key, item.values["split"]) for item in items] == [
        ("1/1", "val"),
        ("1/2", "val"),
        ("3/1", "testA"),
        ("3/2", "testA"),
    ]
    check(items)
    assert table("refcoco").prompts["llava"].of(items[0]) == DESCRIBES
    assert table("refcoco").prompts["lmms_eval"].of(items[0]) == (
        "Bounding box coordinates are specified in the format (top-left x, top-left y, bottom-right x, bottom-right y)."
        " All values are floating point numbers bounded between 0 and 1. " + DESCRIBES
    )


def test_the_page_marks_the_box_and_shows_it_as_one_answer(ask, table, tmp_path):
    (item, *_) = ask("refcoco", refs(["val"]))
    questions = {item.key: Asked(DESCRIBES, "hash")}
    show(Results("refcoco", table("refcoco"), [item], questions, {}, None, 0), None, {}, tmp_path / "page.html")
    (shown,) = PageReader(tmp_path / "page.html").items
    assert shown["references"] == ["[1.0, 2.0, 5.0, 5.0]"]
    assert len(shown["pictures"][0]["boxes"]) == 1


def test_refcoco_of_json_lines(ask):
    record = {"image": "any/where/x.jpg", "sent": "the left man", "bbox": [1, 2, 5, 5], "height": 6, "width": 8}
    files = {f"refcoco_{split}.jsonl": [record] for split in ("val", "testA", "testB")}
    check(ask("refcoco", files | {"train2014/x.jpg": 60}))


def test_refcoco_of_the_hub(ask):
    picture = {"bytes": encoded(60), "path": None}
    row = {"question_id": "5", "image": picture, "answer": ["the left man", "man"], "bbox": [1.0, 2.0, 4.0, 3.0]}
    files = {f"data/{split}-00000-of-00001.parquet": [row] for split in ("val", "testA", "testB")}
    items = ask("refcoco", files)
    assert len(items) == 6
    check(items)


@pytest.mark.parametrize(
    ("name", "said"), [("refcoco", "[0.125, 0.333, 0.625, 0.833]"), ("refcoco_padded", "[0.125, 0.375, 0.625, 0.75]")]
)
def test_padding_is_undone(ask, table, name, said):
    """The same box, in coordinates of the picture and of the square that it is padded to."""
    items, found = ask(name, refs(["val"])), table(name)
    metric = found.metric.clone()
    values = {key: [item.values[value] for item in items] for key, value in found.update.items()}
    metric.threshold = 0.99
    metric.update([said] * len(items), **values)
    assert float(metric.compute()) == 1


def test_a_region_of_no_size(ask):
    record = {"image": "x.jpg", "sent": "man", "bbox": [5, 2, 1, 5], "height": 6, "width": 8}
    files = {f"refcoco_{split}.jsonl": [record] for split in ("val", "testA", "testB")}
    with pytest.raises(ValueError, match=r"val.jsonl, line 1, bbox: left, top, right, bottom are expected, not"):
        ask("refcoco", files | {"train2014/x.jpg": 60})
    notes = [{"id": 10, "image_id": 3, "bbox": [1.0, 2.0, -4.0, 3.0]}]
    instances = refs()["instances.json"] | {"annotations": notes}
    with pytest.raises(ValueError, match=r"record 1, box: left, top, width, height are expected, not"):
        ask("refcoco_regions", refs() | {"instances.json": instances})


def test_regions_are_marked(ask, table):
    first, second = ask("refcoco_regions", refs())
    assert first.values["sentences"] == ["the left man", "man"]
    assert first.pictures[0].name == second.pictures[0].name == "x.jpg 1,2,5,5"
    image = read_picture(first.pictures[0].find())
    red = {(x, y) for x in range(8) for y in range(6) if image.getpixel((x, y)) == (255, 0, 0)}
    assert red == {(x, y) for x in range(1, 6) for y in range(2, 6) if x in (1, 5) or y in (2, 5)}
    assert table("refcoco_regions").prompts["llava"].of(first) == "Provide a short description for this region."


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"refs(unc).p": pickle.dumps(collections.OrderedDict())}, r"refs\(unc\).p is refused: it names collections"),
        ({"refs(unc).p": pickle.dumps([])[:-1]}, r"refs\(unc\).p: damaged, or no pickle"),
        ({"refs(unc).p": pickle.dumps({})}, r"refs\(unc\).p: a list is expected, not \{\}"),
        ({"instances.json": {"annotations": [], "images": []}}, r"record 1: .*instances.json lacks its annotation 10"),
        ({"instances.json": {"images": []}}, r"instances.json: there is no 'annotations'"),
    ],
)
def test_faults(ask, changed, message):
    with pytest.raises(ValueError, match=message):
        ask("refcoco", refs() | changed)


class Hostile:
    """Would write a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_runs_nothing(tmp_path, protocol):
    (tmp_path / "refs.p").write_bytes(pickle.dumps([{"split": Hostile(tmp_path / "written")}], protocol=protocol))
    with pytest.raises(ValueError, match=r"refs.p is refused: it names \w*io\w*.open|builtin"):
        read_plain_pickle(tmp_path / "refs.p")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_types_are_read(tmp_path, protocol):
    plain = [{"a": 1, "b": 2.5, "c": None, "d": [True, "é", (1,)]}, 10**30]
    (tmp_path / "refs.p").write_bytes(pickle.dumps(plain, protocol=protocol))
    assert read_plain_pickle(tmp_path / "refs.p") == plain
