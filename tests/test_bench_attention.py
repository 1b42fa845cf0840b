"""The benchmark of attention kernels: what it compares, not how long it takes."""

import sys
from dataclasses import replace

import pytest
import torch
from tools.bench import attention as bench

CPU = torch.device("cpu")
TINY = bench.cases(tiny=True)


@pytest.mark.parametrize("name", TINY)
def test_ways_of_a_case_agree(name):
    found = bench.ways(TINY[name], CPU, torch.float32)
    running, reasons = bench.that_run(found)
    assert list(running) == (["sdpa", "sdpa, padded"] if "ragged" in name else ["sdpa"])
    assert list(reasons) == ["xformers", "varlen"]
    assert "varlen' cannot run: it runs on CUDA devices only" in reasons["varlen"]


def test_a_way_that_computes_something_else_is_not_timed():
    found = bench.ways(TINY["language model, dense"], CPU, torch.float32)
    wrong = replace(found["sdpa"], options={"causal": False, "backend": "sdpa"})
    with pytest.raises(ValueError, match="wrong does not compute what sdpa does: its result is off by"):
        bench.that_run({"sdpa": found["sdpa"], "wrong": wrong})


@pytest.mark.slow
def test_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["attention", "--tiny", "--device", "cpu"])
    bench.main()
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert sum("cannot run" in line for line in table) == 8
    assert sum(line.count(" ms |") == 2 for line in table) == 6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", TINY)
def test_all_kernels_run_and_agree(name):
    running, reasons = bench.that_run(bench.ways(TINY[name], torch.device("cuda"), torch.bfloat16))
    assert "varlen" in running, reasons
