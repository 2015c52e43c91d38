"""Packed files as the stage writes them."""

import torch

import wfn
from pipeline.packing.packing import write_packed


def test_zeros_lose_their_sign_and_nothing_else_changes(tmp_path):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-2, 3, (50_000,), generator=generator) * 0.25
    signed = torch.where(torch.rand(50_000, generator=generator) < 0.5, weight, torch.where(weight == 0, -0.0, weight))
    state = {"weight": signed, "counter": torch.tensor(7)}
    size = write_packed(tmp_path / "a" / "signed.wfn", state, None, {})
    assert size == write_packed(tmp_path / "a" / "plain.wfn", {**state, "weight": weight}, None, {})
    again = wfn.unpack(tmp_path / "a" / "signed.wfn")
    assert torch.equal(again["weight"], weight)
    assert not again["weight"].signbit()[weight == 0].any()
    assert torch.equal(again["counter"], state["counter"])
