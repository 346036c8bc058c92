"""Eight-bit files: weights per channel, activations by ranges seen on training data.

The file appears only after it has been measured: what it loses is part of what it says of itself.

Source:
    Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR
    2018; Nagel et al., A White Paper on Neural Network Quantization, 2021, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskbench.inference.export import ExportError, check_difference, check_suffix, published, quiet, to_onnx
from maskbench.inference.export_facts import facts_of
from maskbench.inference.export_graphs import Plan
from maskbench.inference.runtime import Format, attach_facts, package

Batches = Sequence[NDArray[Any]]
#: What ONNX Runtime computes in eight bits. The last layer and softmax, a thousandth of the work, stay as they are:
#: 256 steps would be seen in the probabilities.
_ONNX_LAYERS = ["Conv", "Relu", "Add", "MaxPool", "Concat", "Resize"]


def export_int8(
    plan: Plan,
    record: dict[str, Any],
    path: Path,
    form: Format,
    batches: Batches,
    measure: Callable[[Path], dict[str, Any]],
    *,
    sha256: str = "",
) -> tuple[float, dict[str, Any]]:
    """Write a model in eight bits, after measuring what it loses.

    Args:
        plan: what is exported.
        record: the checkpoint's.
        path: to write.
        form: ONNX (QDQ, for ONNX Runtime and others) or OpenVINO (by NNCF).
        batches: inputs from which the ranges of activations are taken: of training data.
        measure: given the finished file, what is said of it; kept in the file as `int8`.
        sha256: of the checkpoint's file.

    Returns:
        The largest difference of the float32 graph, from which the file was made, from PyTorch; and what was measured.

    Raises:
        ExportError: the format has no eight bits here, the float32 graph differs, or there are no batches.
        RuntimeMissingError: a package is not installed.
        ValueError: the extension is not the format's.
    """
    check_suffix(path, form)
    check_int8(form)
    if not batches:
        raise ExportError(f"{path}: no data to take the ranges of activations from")
    with published(path) as written:
        exchange = written.with_name("float.onnx")
        to_onnx(plan, exchange)
        difference = check_difference(plan, exchange, path)
        with quiet():
            (_quantise_onnx if form == "onnx" else _quantise_openvino)(exchange, written, plan.input_name, batches)
        attach_facts(written, facts_of(record, plan.kind, form, "int8", sha256))
        measured = measure(written)
        attach_facts(written, facts_of(record, plan.kind, form, "int8", sha256, int8=measured))
    return difference, measured


def check_int8(form: Format) -> None:
    """Refuse a format without eight bits, and say what is missing, before anything is computed.

    Raises:
        ExportError: PyTorch's own: its quantisation moved to a package that this project does not use.
        RuntimeMissingError: a package is not installed.
    """
    if form == "torch-export":
        raise ExportError(
            "torch-export in int8: PyTorch no longer holds quantisation of exported programs (it moved to torchao, "
            "which maskbench does not use): choose --format onnx or openvino"
        )
    package("onnxruntime" if form == "onnx" else "nncf")


def _quantise_onnx(exchange: Path, path: Path, input_name: str, batches: Batches) -> None:
    quantization = package("onnxruntime.quantization")
    shape_inference = package("onnxruntime.quantization.shape_inference")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.source: Iterator[NDArray[Any]] = iter(batches)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            batch = next(self.source, None)
            return None if batch is None else {input_name: batch}

    prepared = exchange.with_name("prepared.onnx")
    shape_inference.quant_pre_process(str(exchange), str(prepared), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(prepared), str(path), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        op_types_to_quantize=_ONNX_LAYERS, activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip


def _quantise_openvino(exchange: Path, path: Path, input_name: str, batches: Batches) -> None:
    openvino, nncf = package("openvino"), package("nncf")
    model = openvino.Core().read_model(str(exchange))
    data = nncf.Dataset(list(batches), lambda batch: {input_name: batch})
    # Activations with a zero point of their own: probabilities of validation faces move less than with symmetric ones.
    mixed = nncf.QuantizationPreset.MIXED
    smaller = nncf.quantize(model, data, preset=mixed, subset_size=len(batches))
    openvino.save_model(smaller, str(path), compress_to_fp16=False)


def calibration_batches(inputs: NDArray[Any], size: int = 32) -> list[NDArray[Any]]:
    """Inputs of one shape in batches."""
    return [np.ascontiguousarray(inputs[start : start + size]) for start in range(0, len(inputs), size)]
