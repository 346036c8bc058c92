import pytest
import torch

from maskbench.config import TrainConfig
from maskbench.models import execution as module
from maskbench.models.execution import CHANNELS_LAST_FROM_PX, Execution, resolve_execution


@pytest.mark.parametrize(
    ("fast", "size", "expected"),
    [
        (True, CHANNELS_LAST_FROM_PX - 16, ("bf16", "contiguous")),
        (True, CHANNELS_LAST_FROM_PX, ("bf16", "channels_last")),
        (False, CHANNELS_LAST_FROM_PX - 16, ("fp32", "channels_last")),
    ],
)
def test_auto_follows_the_hardware_and_the_size(
    monkeypatch: pytest.MonkeyPatch, fast: bool, size: int, expected: tuple[str, str]
) -> None:
    monkeypatch.setattr(module, "has_fast_bf16", lambda device: fast)
    chosen = resolve_execution(TrainConfig(device="cpu"), size)
    assert (chosen.device, chosen.precision, chosen.memory_format) == ("cpu", *expected)


def test_what_is_asked_for_is_done() -> None:
    config = TrainConfig(device="cpu", precision="fp32", memory_format="contiguous")
    assert resolve_execution(config, 224) == Execution("cpu", "fp32", "contiguous")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_missing_cuda_is_said() -> None:
    with pytest.raises(ValueError, match=r"device: cuda was asked for"):
        resolve_execution(TrainConfig(device="cuda"), 64)


def test_autocast_computes_in_bf16_and_layouts_are_kept() -> None:
    chosen = Execution("cpu", "bf16", "channels_last")
    layer = chosen.place(torch.nn.Conv2d(3, 4, 3))
    images = chosen.arrange(torch.randn(2, 3, 8, 8))
    with chosen.autocast():
        assert layer(images).dtype == torch.bfloat16
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert layer.weight.dtype == torch.float32
