"""The command that pretrains a backbone on a folder of labelled images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from maskbench.cli_options import AsJson, Debug, Devices, beginning_with, examples
from maskbench.cli_output import is_watched, messages_to_stderr, print_json

Progress = Callable[[str], Callable[[int, int], None] | None]


def _complete_recipe(incomplete: str) -> list[str]:
    """Fields of the recipe, as `field=` and `train.field=`."""
    from maskbench.config.pretraining import PretrainConfig
    from maskbench.config.training import TrainConfig

    names = [f"{name}=" for name in PretrainConfig.model_fields if name != "train"]
    return beginning_with(incomplete, [*names, *(f"train.{name}=" for name in TrainConfig.model_fields)])


def register(app: typer.Typer, say: Callable[[str], None], progress: Callable[[bool], Progress]) -> None:
    """Add `maskbench pretrain` to the command line."""

    @app.command(epilog=examples(
        "maskbench pretrain tiny-imagenet-200 --sizes 64:30,96:20,128:10 --out resnet34.int8.safetensors",
        "maskbench pretrain my-images --sizes 64:20 --set train.batch_size=64",
    ))  # fmt: skip
    def pretrain(
        directory: Annotated[
            Path, typer.Argument(metavar="DIR", help="train/CLASS/ and val/CLASS/, Tiny-ImageNet-200, or CLASS/ alone")
        ],
        out: Annotated[
            Path | None, typer.Option("--out", "-o", help="the file; resnet34-DIR.int8.safetensors if not said")
        ] = None,
        implementation: Annotated[
            Literal["manual", "torchvision"] | None,
            typer.Option("--implementation", help="which ResNet34 is trained: manual if not said; both read the file"),
        ] = None,
        sizes: Annotated[
            str | None, typer.Option("--sizes", help="input sizes and their epochs: 64:30,96:20,128:10 if not said")
        ] = None,
        setting: Annotated[
            list[str] | None,
            typer.Option("--set", "-s", autocompletion=_complete_recipe,
                         help="one field of the recipe, e.g. --set train.learning_rate=0.001 (repeatable)"),
        ] = None,
        release: Annotated[str, typer.Option("--release", help="version of the weights, kept in the file")] = "1",
        devices: Devices = 1,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="delete an earlier pretraining of this --out and begin again")
        ] = False,
        as_json: AsJson = False,
        debug: Debug = False,
    ) -> None:  # fmt: skip
        """Pretrain ResNet34 on any folder of labelled images; write weights that --weights FILE takes.

        Images are decoded once and kept in the cache. The file holds the backbone in eight bits; top-1 is measured on
        the validation images with the file as it is read back. Beside it lie its record (.json) and the training's
        files (.training/); the same command goes on where it stopped.
        """
        from maskbench.config.pretraining import make_pretraining
        from maskbench.options import default_name, nested, parse_settings
        from maskbench.stages.pretrain import Wish
        from maskbench.stages.pretrain import pretrain as run

        given = {"implementation": implementation, "sizes": sizes}
        layer = nested({**parse_settings(setting), **{name: value for name, value in given.items() if value}})
        wish = Wish(directory, out or Path(f"resnet34-{default_name(str(directory))}.int8.safetensors"), release,
                    overwrite)  # fmt: skip
        recipe = make_pretraining(layer)
        with messages_to_stderr(as_json):
            found = run(
                wish, recipe, notify=say, progress=progress(is_watched()), interactive=is_watched(), devices=devices
            )
        if as_json:
            print_json(found)
        else:
            say(_told(wish.out, found))


def _told(path: Path, found: dict[str, Any]) -> str:
    """What came of it, in one line."""
    return (
        f"{path}: {found['bytes'] / 1e6:.1f} MB, top-1 {found['top1']:.1%} as read back ({found['top1_float']:.1%} "
        f"before rounding) on {found['data']['val_images']} validation images; use it with --weights {path}"
    )
