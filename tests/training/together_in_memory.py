"""Small trainings, by one process or by several that share every batch; run as a script, it is one of those.

Usage: python -m tests.training.together_in_memory FOLDER
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from maskbench.config import ArmConfig
from maskbench.config.pretraining import make_pretraining
from maskbench.data.image_store import StoredImages
from maskbench.models import registry
from maskbench.stages.groups import Place, free_port, inherited
from maskbench.training.fit import fit_arm
from maskbench.training.fit_detector import fit_detector
from maskbench.training.fit_pretraining import PretrainInputs, fit_backbone
from maskbench.training.processes import ALONE, Processes
from tests.training import detector_in_memory, study_in_memory

ARM = ArmConfig(name="smooth", implementation="smooth", initialisation="random")
#: What is trained: faces in full and layer by layer, both detectors, a backbone.
KINDS = ("full", "gradual", "fcos", "retinanet", "backbone")
#: Everything that is drawn; SGD, because AdamW's steps are as large for a gradient that is only rounding.
FACES: dict[str, Any] = {
    "precision": "fp32", "optimiser": "sgd", "learning_rate": 0.02, "resume_seconds": 60,
    "augment": {"blur": 0.5, "erase": 0.5, "rescale": 0.5},
}  # fmt: skip


def smooth(num_classes: int) -> nn.Module:
    """A ResNet of one block a stage without kinks.

    Where a ReLU is about to switch, rounding decides, and 1e-7 becomes 1e-2 in a few steps - by one process, too.
    """
    model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=num_classes)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.SiLU())
    model.maxpool = nn.AvgPool2d(2)
    return model


def train(folder: Path, processes: Processes = ALONE) -> None:
    """Every kind for two epochs, in a folder of its own."""
    registry.IMPLEMENTATIONS["smooth"] = smooth
    for kind in KINDS:
        say = print if processes.first else _silent
        options: dict[str, Any] = {"notify": say, "processes": processes}
        if kind in ("full", "gradual"):
            # Batches of 8, 8, 8 and 4 faces; seven more in batches of 5 and 2 validate.
            chosen = study_in_memory.config(2, **FACES, regime=kind)
            chosen = chosen.model_copy(update={"evaluate": chosen.evaluate.model_copy(update={"batch_size": 5})})
            fit_arm(study_in_memory.inputs(42), chosen, ARM, 0, None, folder / kind, **options)
        elif kind == "backbone":
            pretrain(folder / kind, **options)
        else:
            # Batches of 4, 4 and 3 views; three photographs validate, one at a time.
            data = detector_in_memory.inputs(3)
            data = detector_in_memory.DetectorInputs(
                data.photographs, data.train.repeat(4)[:11], data.val, data.classes, data.versions
            )
            settings = detector_in_memory.config(
                2, detector=kind, precision="fp32", eval_batch_size=1, learning_rate=1e-5, resume_seconds=60
            )
            fit_detector(data, settings, ARM, 0, None, folder / kind, **options)


def pretrain(folder: Path, **options: Any) -> None:
    """The same faces as labelled images, an epoch at each of two sizes."""
    faces = study_in_memory.inputs(42)
    protocol = {**FACES, "batch_size": 8, "learning_rate": 0.01}
    recipe = make_pretraining({"sizes": "24:1,32:1", "evaluate_batch_size": 5, "train": protocol})
    recipe = recipe.model_copy(update={"implementation": ARM.implementation})
    images = StoredImages({side: faces.canvases[:, :, :side, :side] for side in (30, 40)})
    fit_backbone(PretrainInputs(images, faces.split, faces.classes, 40, faces.versions), recipe, folder, **options)


def _silent(line: str) -> None:
    """The first process says it."""


def train_together(folder: Path, count: int) -> list[str]:
    """The same in `count` processes; what each of them said."""
    place = Place(devices=count, port=free_port())
    command = [sys.executable, "-m", "tests.training.together_in_memory", str(folder)]
    running = [
        subprocess.Popen(command, env={**inherited(), "OMP_NUM_THREADS": "1", **place.environment(number)},
                         cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for number in range(count)
    ]  # fmt: skip
    said = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0] * count, "\n".join(said)
    return said


if __name__ == "__main__":
    train(Path(sys.argv[1]), Processes.from_environment())
