"""Weight files: dequantisation by hand, and every way a file can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from maskbench.models.weight_files import (
    WeightsError,
    dequantise,
    first_few,
    quantise,
    read_weight_file,
    write_compact_file,
)


def test_dequantisation_by_hand() -> None:
    stored = {
        "conv.weight": torch.tensor([[[[1, -2]]], [[[127, -127]]]], dtype=torch.int8),  # (2, 1, 1, 2)
        "conv.weight.scale": torch.tensor([0.5, 0.25]),
        "bn.bias": torch.tensor([0.1], dtype=torch.float16),
    }
    tensors = dequantise(stored)
    # channel 0: (1, -2) · 0.5; channel 1: (127, -127) · 0.25
    assert tensors["conv.weight"].tolist() == [[[[0.5, -1.0]]], [[[31.75, -31.75]]]]
    assert sorted(tensors) == ["bn.bias", "conv.weight"]
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())
    assert stored["conv.weight"].dtype == torch.int8  # not changed


def test_quantisation_by_hand() -> None:
    stored = quantise({"w": torch.tensor([[[[1.0, -2.0]]], [[[0.0, 0.0]]]]), "b": torch.tensor([0.1])})
    # channel 0: a step is 2 / 127, so 1 is 63.5 steps, rounded to even; a channel of zeros stays one
    assert stored["w"].flatten().tolist() == [64, -127, 0, 0]
    assert stored["w.scale"].tolist() == pytest.approx([2 / 127, 1.0])
    assert stored["w"].dtype == torch.int8 and stored["b"].dtype == stored["w.scale"].dtype == torch.float32


def test_a_compact_file_is_read_back_to_within_half_a_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {"conv.weight": torch.randn(8, 4, 3, 3) * torch.logspace(-3, 1, 8)[:, None, None, None],
               "bn.bias": torch.randn(8)}  # fmt: skip
    write_compact_file(tmp_path / "a.safetensors", tensors, {"version": "1"})
    found, metadata = read_weight_file(tmp_path / "a.safetensors")
    assert metadata["version"] == "1" and "value = int8 * scale" in metadata["layout"]
    assert torch.equal(found["bn.bias"], tensors["bn.bias"])
    steps = tensors["conv.weight"].abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    assert ((found["conv.weight"] - tensors["conv.weight"]).abs() <= steps * 0.5001).all()
    # What is read and written again is the same file: rounding happens once.
    write_compact_file(tmp_path / "b.safetensors", found, {"version": "1"})
    again, _ = read_weight_file(tmp_path / "b.safetensors")
    assert all(torch.allclose(found[name], again[name], rtol=1e-6, atol=0) for name in found)


def test_equal_weights_give_equal_bytes(tmp_path: Path) -> None:
    tensors = {"conv.weight": torch.randn(2, 1, 3, 3), "bn.bias": torch.randn(2)}
    metadata = {key: key for key in ("version", "name", "mean", "std", "top1", "pretraining")}
    for number in range(8):
        write_compact_file(tmp_path / f"{number}.safetensors", tensors, metadata)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_compact_file_holds_finite_numbers_only(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"not finite .*: w$"):
        write_compact_file(tmp_path / "a.safetensors", {"w": torch.tensor([float("inf")])}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"w": torch.zeros(2, 3, dtype=torch.int8)}, "w is int8, but there is no w.scale"),
        (
            {"w": torch.zeros(2, 3, dtype=torch.int8), "w.scale": torch.ones(3)},
            r"w.scale is float32 \(3,\); w is int8 \(2, 3\)",
        ),
        ({"w": torch.zeros(2, dtype=torch.int64)}, r"w is int64 \(2,\)"),
    ],
)
def test_dequantisation_refuses(stored: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        dequantise(stored)


def test_plain_files_of_both_formats_give_the_same(tmp_path: Path) -> None:
    tensors = {"w": torch.randn(2, 3), "bn.num_batches_tracked": torch.tensor(5)}
    save_file(tensors, tmp_path / "a.safetensors", {"version": "1"})
    torch.save(tensors, tmp_path / "a.pth")
    first, metadata = read_weight_file(tmp_path / "a.safetensors")
    second, nothing = read_weight_file(tmp_path / "a.pth")
    assert (metadata, nothing) == ({"version": "1"}, {})
    assert list(first) == list(second) == ["w"]  # the step counter is no weight
    assert torch.equal(first["w"], tensors["w"]) and torch.equal(second["w"], tensors["w"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "noise"])
def test_damaged_files_are_one_clear_line(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"weights{suffix}"
    tensors = {"w": torch.randn(64, 64)}
    if suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "truncated": whole[: len(whole) // 2],
            "text": b"<html>not found</html>\n" * 20,
            "empty": b"",
            "noise": torch.randint(0, 256, (5000,), dtype=torch.uint8).numpy().tobytes(),
        }[damage]
    )
    with pytest.raises(WeightsError, match="not a whole") as caught:
        read_weight_file(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_other_content_is_named(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 3, "model": {"w": torch.ones(1)}}, tmp_path / "checkpoint.pth")
    torch.save({}, tmp_path / "nothing.pth")
    save_file({"a": torch.tensor([1.0, float("nan")]), "b": torch.ones(1)}, tmp_path / "nan.safetensors")
    (tmp_path / "weights.onnx").write_bytes(b"")
    for name, message in {
        "list.pth": "holds a list",
        "checkpoint.pth": "not a state dict of tensors by name: epoch, model",
        "nothing.pth": "it is empty",
        "nan.safetensors": r"not finite \(NaN or infinite\): a$",
        "weights.onnx": "not .onnx",
        "missing.pth": "no such file",
    }.items():
        with pytest.raises(WeightsError, match=message):
            read_weight_file(tmp_path / name)


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (marker,)

    torch.save({"w": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="not a whole file of torch weights"):
        read_weight_file(tmp_path / "evil.pth")
    assert not marker.exists()


def test_first_few() -> None:
    assert first_few(["a", "b"]) == "a, b"
    assert first_few(list("abcdef")) == "a, b, c, d and 2 more"
