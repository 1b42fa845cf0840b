"""Folders that are written completely, or stay as they were."""

import pytest

from foveal.core import whole_folder


@pytest.mark.parametrize("before", [None, {}, {"old": "1", "both": "1"}])
def test_a_folder_takes_its_place_at_the_end(tmp_path, before):
    target = tmp_path / "deep" / "target"
    if before is not None:
        target.mkdir(parents=True)
        for name, text in before.items():
            (target / name).write_text(text)
    with whole_folder(target) as partial:
        assert list(partial.iterdir()) == []
        (partial / "both").write_text("2")
        assert target.exists() == (before is not None)
    assert {path.name: path.read_text() for path in target.iterdir()} == {"both": "2"}
    assert list(target.parent.iterdir()) == [target]


def test_what_goes_wrong_leaves_everything_as_it_was(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_text("1")

    def interrupted():
        with whole_folder(target) as partial:
            (partial / "new").write_text("2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]


def test_what_an_interrupted_run_left_is_no_obstacle(tmp_path):
    for kind in ("partial", "old"):
        (tmp_path / f"target.{kind}").mkdir()
        (tmp_path / f"target.{kind}" / "rest").touch()
    with whole_folder(tmp_path / "target") as partial:
        assert list(partial.iterdir()) == []
    assert list(tmp_path.iterdir()) == [tmp_path / "target"]
