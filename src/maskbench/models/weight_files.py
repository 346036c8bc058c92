"""Files of weights: read, checked, turned into float32 tensors; and the compact ones, written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from maskbench.storage import atomic_path

#: Suffix of the tensor with the steps between the int8 values of another tensor.
SCALE = ".scale"
#: Batch norm's count of training steps: not a weight, and read by nothing when the momentum is fixed.
COUNTER = ".num_batches_tracked"
#: Largest int8 value in use: a symmetric quantiser leaves -128 out.
_LARGEST = 127
#: What the metadata say of a compact file's tensors.
_LAYOUT = "torchvision state_dict names; 4-d tensors int8 with <name>.scale per output channel; value = int8 * scale"


class WeightsError(ValueError):
    """Weights cannot be had, read or loaded; the message is for the user."""


def read_weight_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a `.safetensors`, `.pth` or `.pt` file.

    Args:
        path: safetensors, plain or int8 with scales (see `dequantise`), or a state dict saved by torch.

    Returns:
        float32 CPU tensors by name, without batch norm's step counters, and the file's metadata
        (empty for torch's format, which has none).

    Raises:
        WeightsError: no such file, not of these formats, damaged, or it holds something other than
            finite numbers.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    metadata: dict[str, str] = {}
    if path.suffix == ".safetensors":
        stored, metadata = _read_safetensors(path)
    elif path.suffix in (".pth", ".pt"):
        stored = _read_torch(path)
    else:
        raise WeightsError(f"{path}: weights are read from .safetensors, .pth or .pt, not {path.suffix or 'this'}")
    stored = {name: tensor for name, tensor in stored.items() if not name.endswith(COUNTER)}
    try:
        tensors = dequantise(stored)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise WeightsError(f"{path}: not finite (NaN or infinite): {first_few(broken)}")
    return tensors, metadata


def dequantise(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Float32 tensors from int8 ones with a scale per output channel; floating ones are cast.

    value[c, …] = int8[c, …] · scale[c], a symmetric uniform quantiser with one step per output channel.

    Args:
        stored: tensors by name; each int8 tensor (C, …) has a float `<name>.scale` (C,) beside it.

    Returns:
        float32 tensors by name, without the scales.

    Raises:
        WeightsError: an int8 tensor without a scale or with one of another length, or a tensor of
            another integer type.

    Source:
        Krishnamoorthi, Quantizing deep convolutional networks for efficient inference, 2018,
        section 2.2 (symmetric), 3.1.1 (per channel).

    Example:
        >>> stored = {"w": torch.tensor([[2, -4], [10, 0]], dtype=torch.int8), "w.scale": torch.tensor([0.5, 0.1])}
        >>> dequantise(stored)["w"].tolist()
        [[1.0, -2.0], [1.0, 0.0]]
    """
    quantised = {name for name, tensor in stored.items() if tensor.dtype == torch.int8}
    scales = {name + SCALE for name in quantised}
    tensors = {}
    for name, tensor in stored.items():
        if name in scales:
            continue
        if name in quantised:
            scale = stored.get(name + SCALE)
            if scale is None:
                raise WeightsError(f"{name} is int8, but there is no {name}{SCALE}")
            if not tensor.ndim or scale.shape != tensor.shape[:1] or not scale.is_floating_point():
                raise WeightsError(
                    f"{name}{SCALE} is {_describe(scale)}; {name} is {_describe(tensor)} and needs one per channel"
                )
            tensors[name] = tensor.float() * scale.float().view(-1, *[1] * (tensor.ndim - 1))
        elif tensor.is_floating_point():
            tensors[name] = tensor.float()
        else:
            raise WeightsError(f"{name} is {_describe(tensor)}; weights are floating-point, or int8 with scales")
    return tensors


def quantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a compact file holds: convolutions as int8 with a scale per output channel, the rest as float32.

    scale[c] = max |value[c, …]| / 127 and int8[c, …] = round(value[c, …] / scale[c]), so `dequantise` gives every
    value back to within half a step of its channel.

    Args:
        tensors: floating, by name; (C, …) with four dimensions become int8.

    Returns:
        CPU tensors by name, with `<name>.scale` (C,) beside each int8 one.

    Raises:
        WeightsError: a tensor is not finite; names it.

    Source:
        Krishnamoorthi 2018, sections 2.2 and 3.1.1.

    Example:
        >>> stored = quantise({"w": torch.tensor([[[[0.5, -1.27]]]])})
        >>> stored["w"].flatten().tolist(), round(stored["w.scale"].item(), 4)
        ([50, -127], 0.01)
    """
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise WeightsError(f"weights are not finite (NaN or infinite): {first_few(broken)}")
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        values = tensor.detach().cpu().float().contiguous()
        if values.ndim != 4:
            stored[name] = values
            continue
        scale = values.abs().amax(dim=(1, 2, 3)) / _LARGEST
        scale = torch.where(scale > 0, scale, 1.0)  # a channel of zeros stays one
        stored[name] = (values / scale[:, None, None, None]).round().to(torch.int8)
        stored[name + SCALE] = scale
    return stored


def write_compact_file(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write weights as `read_weight_file` reads them, in a quarter of their size; whole or not at all.

    Equal weights and metadata give equal bytes.

    Args:
        path: `….safetensors`.
        tensors: floating, by torchvision's names; see `quantise`.
        metadata: what the file says of itself; the layout of its tensors is added.

    Raises:
        WeightsError: a tensor is not finite.
        OSError: it cannot be written; the previous file survives.
    """
    content = _ordered(save(quantise(tensors), metadata={**metadata, "layout": _LAYOUT}))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _ordered(content: bytes) -> bytes:
    """A safetensors file with its metadata sorted: the library writes them in an order that changes."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[start:]


def first_few(names: list[str], limit: int = 4) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _first_line(error: Exception) -> str:
    """What went wrong, on one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({_first_line(error)})") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever a damaged stream makes it stumble over
        raise WeightsError(f"{path}: not a whole file of torch weights ({_first_line(error)})") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not a state dict")
    strange = [str(name) for name, value in content.items() if not (isinstance(name, str) and torch.is_tensor(value))]
    if strange or not content:
        raise WeightsError(f"{path}: not a state dict of tensors by name: {first_few(strange) or 'it is empty'}")
    return dict(content)
