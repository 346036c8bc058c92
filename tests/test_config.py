from pathlib import Path

import pytest

from maskbench.config import PRESETS, ConfigError, make_config, merge, parse_setting, read_config_file


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid_and_survives_a_round_trip(preset: str) -> None:
    config = make_config(preset)
    assert make_config(preset, config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"train": {"epoch": 1}}, r"^train\.epoch: no such field$"),
        ({"train": {"epochs": 0}}, r"^train\.epochs: .*greater than or equal to 1 \(got 0\)"),
        ({"train": {"learning_rate": "fast"}}, r"train\.learning_rate: .*\(got 'fast'\)"),
        ({"split": {"fractions": [0.5, 0.2, 0.2]}}, "sum to 1"),
        ({"arms": []}, "arms: at least one"),
        ({"seeds": {"count": 0}}, r"seeds\.count"),
        ({"split": {"strategy": "kfold"}, "seeds": {"count": 2}}, "seeds.vary: kfold tests another fold"),
        ({"name": "../elsewhere"}, "name:"),
        ({"data": {"classes": ["only"]}}, "at least two classes"),
        ({"train": {"augment": {"flip": 1.5}}}, r"train\.augment\.flip"),
        ({"train": {"small_inputs": "48"}}, r"^train\.small_inputs: write it as size:epochs"),
        ({"train": {"small_inputs": "48:9,56:5"}}, r"^train: small_inputs: 14 epochs of 14; the last need"),
        ({"train": {"small_inputs": "64:2"}}, r"^train\.small_inputs: 64:2 is not below faces\.input_size, 64"),
    ],
)
def test_wrong_fields_are_named(layer: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config("quick", layer)


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="smoke, quick, standard, paper"):
        make_config("huge")


def test_later_layers_win_and_inputs_stay_as_they_are() -> None:
    first, second = {"train": {"epochs": 3, "loss": "focal"}}, {"train": {"epochs": 4}}
    config = make_config("smoke", first, second)
    assert (config.train.epochs, config.train.loss) == (4, "focal")
    assert first == {"train": {"epochs": 3, "loss": "focal"}}
    assert merge({"a": {"b": 1}}, {"a": 2}) == {"a": 2}


def test_a_preset_says_nothing_about_a_dataset_that_is_given() -> None:
    assert make_config("smoke").data.sample == {"images": 60}
    assert make_config("smoke", {"data": {"source": "folder"}}).data.sample == {}
    assert make_config("smoke", {"data": {"source": "folder", "sample": {"images": 9}}}).data.sample == {"images": 9}


def test_runs_of_equal_number_share_what_does_not_vary() -> None:
    def seeds(vary: str) -> list[tuple[int, int]]:
        config = make_config("quick", {"seeds": {"count": 3, "first": 5, "vary": vary}}).seeds
        assert config.numbers() == (5, 6, 7)
        found = [(config.init_seed(number), config.split_id(number)) for number in config.numbers()]
        assert len({split for _, split in found}) == config.splits()
        return found

    assert seeds("init") == [(5, 0), (6, 0), (7, 0)]
    assert seeds("split") == [(5, 0), (5, 1), (5, 2)]
    assert seeds("both") == [(5, 0), (6, 1), (7, 2)]


def test_settings_read_values_as_yaml() -> None:
    assert parse_setting("data.classes=[a, b]") == {"data": {"classes": ["a", "b"]}}
    for wrong in ("train.epochs", "=5", "train..x=1"):
        with pytest.raises(ConfigError, match=r"section\.field=value"):
            parse_setting(wrong)


def test_configuration_files_must_be_mappings(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("- a\n- b\n")
    with pytest.raises(ConfigError, match=r"c\.yaml: a configuration is a mapping"):
        read_config_file(path)
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        read_config_file(tmp_path / "absent.yaml")
