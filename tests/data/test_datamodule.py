from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from maskbench.data.datamodule import EpochBatchSampler, FaceDataModule
from maskbench.data.shares import Share


def module(seed: int = 0, **options) -> FaceDataModule:
    labels = ["c"] * 2 + ["a"] * 30 + ["b"] * 8
    sides = (["train"] * 7 + ["val"] * 2 + ["test"]) * 4
    split = pd.DataFrame({"label": labels, "split": sides})
    canvases = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, 3, 4, 4).contiguous()
    return FaceDataModule(canvases, split, ("a", "b", "c"), seed=seed, batch_size=8, eval_batch_size=5, **options)


def test_an_epoch_holds_every_training_face_once_with_its_label() -> None:
    data = module()
    rows = torch.cat([batch.rows for batch in data.train_dataloader()])
    assert sorted(rows.tolist()) == data.rows["train"].tolist()
    for batch in data.train_dataloader():
        assert torch.equal(batch.canvases[:, 0, 0, 0].long(), batch.rows)
        assert torch.equal(batch.targets, data.targets[batch.rows])


def test_order_follows_from_seed_and_epoch_alone() -> None:
    sampler, later = EpochBatchSampler(20, 6, seed=1), EpochBatchSampler(20, 6, seed=1)
    first = list(sampler)
    sampler.set_epoch(3)
    later.set_epoch(3)
    assert list(sampler) == list(later) != first
    assert list(EpochBatchSampler(20, 6, seed=2)) != first


@pytest.mark.parametrize(("count", "expected"), [(16, 2), (17, 2), (18, 3)])
def test_a_last_batch_of_one_is_left_out(count: int, expected: int) -> None:
    batches = list(EpochBatchSampler(count, 8, seed=0))
    assert len(batches) == expected == len(EpochBatchSampler(count, 8, seed=0))
    assert min(map(len, batches)) > 1


@pytest.mark.parametrize(("count", "world", "needed"), [(1, 1, 2), (3, 4, 4)])
def test_too_few_faces_for_one_step_are_refused(
    monkeypatch: pytest.MonkeyPatch, count: int, world: int, needed: int
) -> None:
    data = module()
    data.rows["train"] = data.rows["train"][:count]
    monkeypatch.setattr(FaceDataModule, "share", Share(0, world))
    with pytest.raises(ValueError, match=f"{count} training faces: a step needs {needed}"):
        data.train_dataloader()


def test_processes_share_each_batch_and_know_the_whole() -> None:
    data = module()
    whole = [data.faces("train")[batch] for batch in EpochBatchSampler(28, 8, seed=4, world=3)]
    parts = [data.faces("train", Share(rank, 3)) for rank in range(3)]
    assert [len(batch.rows) for batch in whole] == [8, 8, 8, 4]
    for batch, drawn in zip(whole, EpochBatchSampler(28, 8, seed=4, world=3), strict=True):
        shares = [part[drawn] for part in parts]
        assert sorted(torch.cat([share.rows for share in shares]).tolist()) == sorted(batch.rows.tolist())
        for rank, share in enumerate(shares):
            assert torch.equal(share.canvases, batch.canvases[rank::3])
            assert torch.equal(share.all_targets, batch.targets) and torch.equal(share.all_rows, batch.rows)
        # Means over shares, weighted by size and `weight`, make the mean over the batch: a third of 8 is 3, 3, 2.
        assert sum(len(s.rows) * s.share.weight(len(batch.rows)) for s in shares) == pytest.approx(len(batch.rows))


def test_validation_faces_are_dealt_once_and_in_step() -> None:
    data = module()  # eight validation faces in batches of five and three
    parts = [[batch.rows.tolist() for batch in data.ordered_dataloader("val", Share(rank, 3))] for rank in range(3)]
    assert [len(part) for part in parts] == [1, 1, 1] and parts[2] == [[]]
    assert [row for part in parts for rows in part for row in rows] == data.rows["val"].tolist()


def test_balanced_sampling_evens_out_classes() -> None:
    data = module(balanced=True)
    sampler = data.train_dataloader().sampler
    counts = torch.zeros(3)
    for epoch in range(60):
        sampler.set_epoch(epoch)
        rows = data.rows["train"][sampler.order()]
        counts += torch.bincount(data.targets[rows], minlength=3)
    # 28 draws × 60 epochs = 1680, a third each: 560 ± 3·√(1680·1/3·2/3) ≈ ± 58
    assert (counts - 560).abs().max() < 60


def test_ordered_batches_keep_the_tables_order() -> None:
    data = module()
    assert torch.cat([batch.rows for batch in data.ordered_dataloader("test")]).tolist() == [9, 19, 29, 39]


class Watched:
    """Pixels that tell where they were moved."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes, self.device = nbytes, torch.device("cpu")

    def to(self, device: torch.device) -> "Watched":
        self.device = device
        return self


@pytest.mark.parametrize(
    ("device", "nbytes", "moves"), [("cuda:1", 100, True), ("cuda:1", 101, False), ("cpu", 100, False)]
)
def test_pixels_are_kept_on_the_gpu_that_trains_where_they_fit(
    device: str, nbytes: int, moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda found: (1000, 2000) if str(found) == "cuda:1" else None)
    data = module()
    data.canvases = Watched(nbytes)
    data.setup("fit")  # nobody trains
    assert data.canvases.device.type == "cpu"
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)))
    data.setup("fit")
    assert (data.canvases.device == torch.device("cuda:1")) is moves
    data.teardown("fit")
    assert data.canvases.device.type == "cpu"
