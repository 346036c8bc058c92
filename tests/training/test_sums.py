"""Sums over an epoch and averaged weights: the numbers of the plain way."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics import MeanMetric

from maskbench.evaluation.confusion import confusion_counts
from maskbench.training.averaging import Follower, averaged_copy, warmed_decay
from maskbench.training.fit import fit_arm
from maskbench.training.losses import WeightedCrossEntropy
from maskbench.training.sums import EpochSums, Means
from tests.training.study_in_memory import config, inputs


def test_means_are_torchmetrics(rng: np.random.Generator) -> None:
    values = torch.from_numpy(rng.normal(3, 2, (12, 2)).astype(np.float32))
    weights = rng.integers(1, 40, 12).tolist()
    own, theirs = Means(2), [MeanMetric(), MeanMetric()]
    for row, weight in zip(values, weights, strict=True):
        own.update(row, weight)
        for metric, value in zip(theirs, row, strict=True):
            metric.update(value, weight)
    torch.testing.assert_close(own.compute(), torch.stack([metric.compute() for metric in theirs]), rtol=1e-6, atol=0)


def test_an_epochs_sums_are_those_of_all_its_faces_at_once(rng: np.random.Generator) -> None:
    logits = torch.from_numpy(rng.normal(0, 2, (50, 3)).astype(np.float32))
    targets = torch.from_numpy(rng.integers(0, 3, 50))
    criterion, sums = WeightedCrossEntropy(torch.ones(3), label_smoothing=0.1), EpochSums(3)
    for _ in range(2):  # closing starts afresh
        for part in (slice(0, 20), slice(20, 45), slice(45, 50)):
            sums.add(logits[part], targets[part], criterion(logits[part], targets[part]))
        counts, losses = sums.close()
        expected = confusion_counts(targets.numpy(), logits.argmax(dim=1).numpy(), 3)
        assert (counts == expected).all()
        plain = nn.functional.cross_entropy(logits, targets)
        assert [name for name, _, _ in losses] == ["loss", "cross_entropy"]
        assert [value for _, _, value in losses] == pytest.approx([criterion(logits, targets).item(), plain.item()])


def test_a_loss_that_is_not_finite_ends_the_training_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = WeightedCrossEntropy.forward

    def broken(self: WeightedCrossEntropy, logits: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        loss = plain(self, logits, *others)
        return loss * math.nan if logits.requires_grad else loss  # of training alone

    monkeypatch.setattr(WeightedCrossEntropy, "forward", broken)
    study = config(epochs=1)
    with pytest.raises(ValueError, match=r"seed 0: loss \(train\) is not finite in epoch 1; lower the learning rate"):
        fit_arm(inputs(), study, study.arms[0], 0, None, tmp_path, notify=lambda line: None)


def test_averages_follow_weights_and_statistics_and_copy_counters() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = averaged_copy(model)
    follower, expected = Follower(average, model), {n: v.clone() for n, v in average.state_dict().items()}
    for step in range(4):
        model(torch.randn(5, 3, generator=torch.Generator().manual_seed(step)))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.5)
        decay = warmed_decay(0.9, step)
        follower.follow(decay)
        for name, value in model.state_dict().items():
            floating = value.is_floating_point()
            expected[name] = decay * expected[name] + (1 - decay) * value if floating else value.clone()
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
    assert int(average.state_dict()["1.num_batches_tracked"]) == 4
