"""A whole run on data of every kind at once, through a mixture, with a loader worker."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.fitting import SEEN, seen

RUN = (
    *("--config=uhd.yaml", "--config=data/llava.yaml", "--controls=false", "--data.path=mix.yaml", "--run=run"),
    *("--data.batch_size=2", "--data.workers=1", "--trainer.accelerator=cpu", "--trainer.max_epochs=1"),
    *("--data.val_path=mix.yaml", "--data.val_limit=6", "--trainer.val_check_interval=1.0"),
    *("--trainer.enable_progress_bar=false", "--model.max_new_tokens=2"),
)


def talk(answer):
    return [{"role": "user", "content": "Read."}, {"role": "assistant", "content": answer}]


def encoded(kind, **options):
    stream = io.BytesIO()
    Image.new("RGB", (40, 24)).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def mixture(tmp_path):
    (tmp_path / "page.pdf").write_bytes(encoded("PDF", resolution=200.0))
    (tmp_path / "a.json").write_text(json.dumps([{"id": "pdf", "image": "page.pdf#page=1", "messages": talk("1")}]))
    rows = [{"id": "parquet", "image": {"bytes": encoded("JPEG"), "path": "x.jpg"}, "messages": talk("2")}]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "b.parquet")
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        for name, content in (("tar.png", encoded("PNG")), ("tar.txt", b"A cat.")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (tmp_path / "d.jsonl").write_text(json.dumps({"id": "text", "messages": talk("4")}))
    names = ("a.json", "b.parquet", "c.tar", "d.jsonl")
    (tmp_path / "mix.yaml").write_text(json.dumps({"sources": [{"path": name} for name in names]}))
    return tmp_path


@pytest.mark.slow
def test_every_kind_is_trained_and_validated_on(fit, mixture, capsys):
    assert fit(*RUN, *SEEN) == 0, capsys.readouterr().err
    assert seen(mixture) == {f"0 {key}": 1 for key in ("pdf", "parquet", "tar", "text")}
    assert (mixture / "run/predictions.png").exists()


@pytest.mark.slow
def test_predict_reads_pages(fit, command, mixture):
    assert fit(*RUN, "--data.val_path=null", "--trainer.max_steps=1") == 0
    asked = ("--checkpoint", "run/checkpoint", "--question", "Read.", "--max_new_tokens=2", "--device=cpu", "--image")
    assert command("predict", *asked, "page.pdf#page=1").stdout == command("predict", *asked, "page.pdf").stdout
    refused = command("predict", *asked, "page.pdf#page=2", code=1)
    assert "page.pdf#page=2: there is no such page, pages are numbered from 1 to 1" in refused.stderr
