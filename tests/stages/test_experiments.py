"""Which variants a configuration stands for."""

import pytest

from maskbench.config import ConfigError, make_config
from maskbench.stages.experiments import LEVELS, variants


def test_one_thing_changes_at_a_time_and_the_study_is_not_trained_again() -> None:
    config = make_config("quick", {"experiments": {"run": list(LEVELS)}})
    found = variants(config)
    own = {(v.experiment, v.level) for v in found if not v.changes}
    assert own == {
        ("leakage", "grouped"), ("regimes", "full"), ("losses", "class_balanced"), ("data_efficiency", "100%"),
        ("label_noise", "0% wrong"),
    }  # fmt: skip
    for variant in (v for v in found if v.changes):
        changed = variant.config(config)
        before, after = config.model_dump(), changed.model_dump()
        sections = [name for name in before if before[name] != after[name]]
        assert len(sections) == 1, variant
    by_level = {v.level: v.config(config) for v in found}
    assert by_level["random"].split.strategy == "random"
    assert (by_level["25%"].training_set.fraction, by_level["25%"].training_set.repeat) == (0.25, True)
    assert by_level["100% balanced"].training_set.balance == 1.0
    assert by_level["balanced sampler"].train.balanced_sampler
    assert len({(v.experiment, v.level) for v in found}) == len(found)


def test_fewer_faces_are_fewer_steps_where_that_is_asked_for() -> None:
    config = make_config("quick", {"experiments": {"run": ["data_efficiency"], "equal_steps": False}})
    assert not any(variant.config(config).training_set.repeat for variant in variants(config))


def test_nothing_is_varied_unless_asked_for() -> None:
    assert variants(make_config("quick")) == []
    with pytest.raises(ConfigError, match=r"experiments\.run"):
        make_config("quick", {"experiments": {"run": ["everything"]}})
