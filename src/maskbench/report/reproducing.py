"""The report's last section: commands, configuration, versions and hashes that lead to the same numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from maskbench.report.content import ReportContext
from maskbench.report.content_results import MISSING
from maskbench.report.document import Code, Facts, Item, Section, Table, Text
from maskbench.report.grids import grid

#: Files whose hashes say that the same was computed: stage, file, what it is.
_FILES = (
    ("audit", "audit/images.parquet", "photographs: names and SHA-256 of each"),
    ("audit", "audit/faces.parquet", "faces: boxes and labels"),
    ("split", "split/split.parquet", "split: the side of every face"),
    ("evaluate", "evaluate/predictions.parquet", "predictions of classifiers"),
    ("detect-evaluate", "detect-evaluate/detections.parquet", "boxes of detectors"),
)


def reproduce_section(context: ReportContext) -> Section:
    """Everything that is needed to compute the study again.

    Args:
        context: of the report.
    """
    run = context.run
    commands = [str(command) for command in run.get("commands") or ()]
    versions = "\n".join(f"{name} {version}" for name, version in (run.get("versions") or {}).items())
    parts = (
        Section("run", "What was run", (_facts(context), *_listed(commands))),
        Section("again", "The same again", (*_steps(context),)),
        Section(
            "configuration",
            "Configuration",
            (
                Text("Complete, every field with its value; `config.yaml` in the run's folder."),
                Code(context.config_text, "yaml", "config.yaml"),
            ),
        ),
        Section(
            "versions", "Versions", (Code(versions, "text"),) if versions else (Text("Not recorded.", "soft"),)
        ),
        Section("hashes", "Hashes", tuple(_hashes(context))),
    )  # fmt: skip
    return Section("reproduce", "How to reproduce", (), parts)


def _listed(commands: list[str]) -> tuple[Item, ...]:
    if not commands:
        return ()
    return (Text("Commands of this run:"), Code("\n".join(commands), "sh"))


def _facts(context: ReportContext) -> Facts:
    run = context.run
    machine, version = run.get("machine") or {}, run.get("versions") or {}
    runs = (*(context.training.runs if context.training else ()), *context.detectors)
    devices = sorted({str(r.fit["device"]) for r in runs if r.fit.get("device")})
    hardware = [str(machine["system"])] if machine.get("system") else []
    hardware += [f"{machine['cores']} cores"] if machine.get("cores") else []
    rows = [
        ("Run", context.name),
        ("Data", context.settings.data.source),
        ("Started", str(run.get("started") or MISSING)),
        ("Last command", str(run.get("last_command_at") or MISSING)),
        ("Device", ", ".join(devices) or str(machine.get("device") or MISSING)),
        ("Machine", ", ".join(hardware) or MISSING),
        ("Code", f"maskbench {version.get('maskbench', MISSING)}, commit {run.get('git_commit') or MISSING}"),
        ("Seconds", _seconds(context) or MISSING),
    ]  # fmt: skip
    return Facts(tuple(rows))


def _seconds(context: ReportContext) -> str:
    """How long each stage took, the longest first."""
    took = {name: float(facts["seconds"]) for name, facts in context.manifests.items() if name != "report"}
    return ", ".join(f"{name} {took[name]:,.0f}" for name in sorted(took, key=lambda name: -took[name]))


def _steps(context: ReportContext) -> Iterator[Item]:
    commit = str(context.run.get("git_commit") or "")
    clean = commit.removesuffix("-dirty")
    if commit != clean:
        yield Text("The code had changes that were not committed: they are not in the commit below.", "alert")
    yield Text(
        "Check out the commit, set up with the versions below, save the configuration below as `config.yaml`, and run:"
    )
    checkout = f"git checkout {clean}\n" if clean else ""
    yield Code(
        f"{checkout}make setup\n.venv/bin/maskbench run{_task(context)} --config config.yaml "
        f"--name {context.name}-again",
        "sh",
    )
    yield Text(
        "The split and the bootstrap follow from `split.seed`, the trainings from `seeds`. On the same machine and "
        "versions the figures are the same; another device or version may change the last digits."
    )


def _task(context: ReportContext) -> str:
    if not context.detectors:
        return ""
    return f" --task {'all' if context.training else 'detect'}"


def _hashes(context: ReportContext) -> Iterator[Item]:
    """SHA-256 of what went in and of what came out."""
    rows = [{"what": "dataset folder: names, sizes and times of its files", "file": MISSING,
             "sha256": context.manifests["audit"]["outside"]}] if "audit" in context.manifests else []  # fmt: skip
    for stage, file, what in _FILES:
        if facts := context.manifests.get(stage, {}).get("outputs", {}).get(file):
            rows.append({"what": what, "file": file, "sha256": facts["sha256"]})
    runs = [("classifier", run) for run in (context.training.runs if context.training else ())]
    runs += [("detector", run) for run in context.detectors]
    weights = {run.weights["name"]: run.weights["sha256"] for _, run in runs if run.weights.get("sha256")}
    rows += [{"what": "initial weights", "file": name, "sha256": value} for name, value in weights.items()]
    for kind, run in runs:
        stage = "train" if kind == "classifier" else "detect-train"
        file = f"{stage}/{run.arm}/seed{run.seed}/best.safetensors"
        if facts := context.manifests.get(stage, {}).get("outputs", {}).get(file):
            rows.append({"what": f"{kind} {run.arm}, seed {run.seed}", "file": file, "sha256": facts["sha256"]})
    if not rows:
        yield Text("No stage has recorded hashes.", "soft")
        return
    yield Table(
        "SHA-256 of inputs and results", grid(pd.DataFrame(rows), most=len(rows)),
        "The hash of the dataset folder changes when its files are copied anew; those of the photographs do not.",
    )  # fmt: skip
