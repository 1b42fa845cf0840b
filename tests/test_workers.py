"""The number of loader workers changes nothing in a run."""

import json

import pytest
from PIL import Image
from tests.fitting import SEEN, weights

RUN = (
    *("--config=uhd.yaml", "--config=data/llava.yaml", "--controls=false", "--data.path=mix.yaml"),
    *("--data.batch_size=2", "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1", "--trainer.max_epochs=2"),
    "--trainer.enable_progress_bar=false",
)


@pytest.mark.slow
def test_any_number_of_workers_sees_the_same_samples_in_the_same_order(fit, tmp_path):
    for name, count in (("a", 5), ("b", 8)):
        talk = [{"from": "human", "value": "Read."}, {"from": "gpt", "value": "12"}]
        for number in range(count):
            Image.new("RGB", (40, 24 + number), (number * 20, 0, 0)).save(tmp_path / f"{name}{number}.png")
        records = [
            {"id": f"{name}{number}", "image": f"{name}{number}.png" if number % 3 else None, "conversations": talk}
            for number in range(count)
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps(records))
    (tmp_path / "mix.yaml").write_text("sources: [{path: a.json, weight: 1.4}, {path: b.json, weight: 0.5}]")
    orders, found = [], []
    for workers in (0, 1, 4):
        assert fit(*RUN, *SEEN, f"--data.workers={workers}", f"--run=run{workers}") == 0
        file = tmp_path / "seen.rank0.txt"
        orders.append(file.read_text())
        file.unlink()
        found.append(weights(tmp_path / f"run{workers}"))
    assert orders[0] == orders[1] == orders[2]
    assert len(orders[0].split("\n")) > 20
    assert found[0] == found[1] == found[2]
