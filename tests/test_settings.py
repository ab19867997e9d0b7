"""Settings are said once: flags of commands, keys of study files and checks come from there."""

from __future__ import annotations

import pickle

import pytest
from typer.main import get_command

from backend.capture.options import CaptureOptions
from backend.cli import app
from backend.errors import InputError, blamed_on
from backend.linear_adapter.plan import AdapterPlan
from backend.sae.plan import SaePlan
from backend.settings import Setting, check_settings, settings_of
from backend.sweep.schema import CaptureKeys, PretrainKeys, TrainKeys
from backend.train.options import CacheOptions, MeasureOptions
from backend.train.recipe import FROM_CHECKPOINT, PretrainPlan, TrainPlan

OF_COMMANDS = {
    "train": (TrainPlan, MeasureOptions, CacheOptions),
    "pretrain": (PretrainPlan,),
    "capture": (CaptureOptions,),
    "train --family linear-adapter": (AdapterPlan,),
    "train-sae": (SaePlan,),
}
CONTRACT = {
    "train": "data placement seeds out task text-encoder vision-encoder image-size epochs limit "
    "freeze",
    "capture": "model data store pooling limit",
}


def flags(command: str) -> set[str]:
    params = get_command(app).commands[command].params  # type: ignore[attr-defined]
    return {option for param in params for option in param.opts}


@pytest.mark.parametrize("command", OF_COMMANDS)
def test_every_setting_is_a_flag_of_its_command(command: str) -> None:
    expected = {
        f"--{rule.flag or field.name.replace('_', '-')}"
        for kind in OF_COMMANDS[command]
        for field, rule in settings_of(kind)
    }
    assert expected <= flags(command)


@pytest.mark.parametrize("command", CONTRACT)
def test_the_flags_that_scripts_rely_on_are_there(command: str) -> None:
    assert {f"--{flag}" for flag in CONTRACT[command].split()} <= flags(command)


def test_every_setting_is_a_key_of_a_study_file() -> None:
    own = {"data", "placement", "device", "pretrained"}

    def names(*kinds: type) -> set[str]:
        return {field.name for kind in kinds for field, _ in settings_of(kind)}

    assert names(TrainPlan, MeasureOptions) - own <= set(TrainKeys.model_fields)
    assert names(PretrainPlan) - own - {*FROM_CHECKPOINT} <= set(PretrainKeys.model_fields)
    assert names(CaptureOptions) - own <= set(CaptureKeys.model_fields)
    assert TrainKeys().model_dump()["epochs"] == TrainPlan("", "").epochs


@pytest.mark.parametrize(
    ("rule", "good", "bad", "problem"),
    [
        (Setting("", at_least=1), 1, 0, "0 is less than 1"),
        (Setting("", above=0), 0.1, 0.0, "0.0 is not more than 0"),
        (Setting("", at_most=1), 1.0, 1.5, "1.5 is more than 1"),
        (Setting("", below=1), 0.9, 1.0, "1.0 is not less than 1"),
        (Setting("", at_least=0), 0.0, float("nan"), "nan is less than 0"),
        (Setting("", choices=("a", "b")), "a", "c", "'c' is not one of a, b"),
        (Setting("", choices=("a", "b")), ("b", "a"), ("a", "c"), "'c' is not one of a, b"),
        (Setting(""), ("x", "y"), ("x", "x"), "'x' is given twice"),
    ],
)
def test_a_rule_says_what_is_wrong(rule: Setting, good: object, bad: object, problem: str) -> None:
    assert rule.problem(good) is None
    assert rule.problem(bad) == problem


def test_the_first_wrong_setting_is_blamed() -> None:
    with pytest.raises(InputError) as caught:
        check_settings(CaptureOptions(pooling=("cls", "max"), dtype="int8"))
    assert caught.value.field == "pooling"
    assert str(caught.value) == "pooling: 'max' is not one of cls, mean"


def test_an_error_keeps_its_parts_where_it_is_moved_named_and_sent() -> None:
    error = InputError("no `epochs`", where="here", field="run_id", hint="Use `out` or `this one`.")
    assert str(error) == "here: run_id: no `epochs`. Use `out` or `this one`."
    inside = error.within("study, line 3")
    assert (inside.where, inside.field) == ("study, line 3: here", "run_id")
    shown = error.named({"run_id": "--run-id", "out": "--out", "this one": "--wrong"})
    assert str(shown) == "here: --run-id: no `epochs`. Use --out or `this one`."
    sent = pickle.loads(pickle.dumps(inside))  # noqa: S301
    assert (type(sent), str(sent), sent.__dict__) == (InputError, str(inside), inside.__dict__)


def test_what_blames_nobody_is_blamed_on_the_setting_that_was_read() -> None:
    for error, field in ((InputError("gone"), "data"), (InputError("bad", field="seed"), "seed")):
        with pytest.raises(InputError) as caught, blamed_on("data"):
            raise error
        assert caught.value.field == field
