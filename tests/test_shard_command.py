"""`python -m recipes.shard` as it is typed, and training on what it writes."""

import json

import pytest
from PIL import Image
from tests.fitting import SEEN, seen, weights

from recipes.data.index.open_records import open_records

RUN = (
    *("--config=uhd.yaml", "--config=data/llava.yaml", "--controls=false", "--data.batch_size=2", "--data.workers=0"),
    *("--trainer.accelerator=cpu", "--trainer.max_epochs=2", "--trainer.enable_progress_bar=false"),
)


@pytest.fixture
def data(tmp_path):
    """Six records, one of them without a picture, in a file beside the folder of their pictures."""
    (tmp_path / "pictures").mkdir()
    rows = []
    for number in range(6):
        talk = [{"role": "user", "content": "Read."}, {"role": "assistant", "content": "a " * number + "b"}]
        rows.append({"id": f"{number}", "image": f"{number}.png" if number else None, "messages": talk})
        Image.new("RGB", (30 + number, 20), (40 * number, 0, 0)).save(tmp_path / "pictures" / f"{number}.png")
    (tmp_path / "my.json").write_text(json.dumps(rows))
    return tmp_path


@pytest.mark.slow
def test_as_typed(command, data):
    done = command("shard", "--data.path", "my.json", "--data.images", "pictures", "--out", "shards")
    assert (done.stdout, done.stderr) == ("shards: 6 conversations\n", "")
    first, second = open_records(data / "my.json", data / "pictures"), open_records(data / "shards")
    assert [each.turns for each in first] == [each.turns for each in second]
    assert [[path.read_bytes() for path in each.images] for each in first] == [list(each.images) for each in second]
    again = command("shard", "--data.path", "my.json", "--out", "shards", code=2)
    assert again.stderr == "error: shards exists\nchoose a folder that does not\n"
    (data / "mix.yaml").write_text("sources: [{path: my.json, images: pictures}]")
    mixture = command("shard", "--data.path", "mix.yaml", "--out", "new", code=1)
    assert mixture.stderr.startswith("error: mix.yaml is a mixture: write the shards of each of its files")
    (data / "pictures" / "3.png").unlink()
    missing = command("shard", "--data.path", "my.json", "--data.images", "pictures", "--out", "new", code=1)
    assert "my.json, record 4 (id 3), image: there is no file" in missing.stderr
    assert not (data / "new").exists()


@pytest.mark.slow
def test_training_is_the_same(command, fit, data):
    """In the same order, to the same weights, whatever the records are in."""
    command("shard", "--data.path", "my.json", "--data.images", "pictures", "--out", "shards")
    assert fit(*RUN, *SEEN, "--data.path=my.json", "--data.images=pictures", "--run=json") == 0
    from_json = seen(data)
    (data / "seen.rank0.txt").unlink()
    assert fit(*RUN, *SEEN, "--data.path=shards", "--run=shards_run") == 0
    assert seen(data) == from_json
    assert weights("json") == weights("shards_run")
