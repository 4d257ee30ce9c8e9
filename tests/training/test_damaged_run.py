"""Files of a run that were damaged or edited: each is named, or left out where a crash may have cut it off."""

import json
import shutil
import struct
from pathlib import Path

import pytest

from unetkit.data.synthetic import write_synthetic_cells
from unetkit.model.files import read_model
from unetkit.training.loop import train
from unetkit.training.run import Run

DEEP = "[" * 5000 + "]" * 5000


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_synthetic_cells(folder / "data", n=3, size=(48, 48))
    settings = {"net": {"widths": (4, 8)}, "patches": {"size": (16, 16), "batch": 2}, "device": {"name": "cpu"}}
    train(folder / "data", out=folder / "run", steps=2, settings=settings | {"data": {"validation_fraction": 0.34}})
    return folder / "run"


@pytest.fixture
def run(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def change_header(path: Path, change) -> None:
    """Change the JSON object of ours in the header of a safetensors file."""
    content = path.read_bytes()
    (n,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + n])
    own = json.loads(header["__metadata__"]["unetkit"])
    header["__metadata__"]["unetkit"] = change(own) or json.dumps(own)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + n :])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"per_image": 3}', DEEP, '{"per_image": [{"name": 1}]}', "\xe9"])
def test_scores_that_are_damaged_are_named(run, text):
    (run / "validation.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"validation\.json: cannot be read: "):
        Run.open(run).scores  # noqa: B018


def test_scores_of_another_type_are_named(run):
    content = json.loads((run / "validation.json").read_text())
    content["pooled"][1]["dice"] = "high"
    (run / "validation.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"validation\.json: cannot be read: damaged: .*pooled\.1\.dice"):
        Run.open(run).scores  # noqa: B018


@pytest.mark.parametrize("line", ["{", "[1]", DEEP, '{"step": "x", "elapsed_s": 1}', '{"elapsed_s": 1}'])
def test_lines_of_the_log_that_are_damaged_are_left_out(run, line):
    whole = Run.open(run).log()
    with (run / "log.jsonl").open("ab") as file:
        file.write(line.encode() + b"\n\xff\xfe\n")
    assert Run.open(run).log() == whole
    train(Run.open(run).plan.data.images, out=run, steps=2, resume=True)
    steps = [json.loads(text)["step"] for text in (run / "log.jsonl").read_text().splitlines()]
    assert steps == [entry["step"] for entry in whole]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("step", "two", r"step: "), ("losses", [None], r"losses\.0: "), ("best", None, r"best: ")],
)
def test_a_state_of_another_type_is_named(run, name, value, reason):
    change_header(run / "last/state.safetensors", lambda own: own.update({name: value}))
    with pytest.raises(ValueError, match=rf"state\.safetensors: cannot be read: {reason}"):
        Run.open(run).state()
    with pytest.raises(ValueError, match=rf"state\.safetensors: cannot be read: {reason}"):
        train(Run.open(run).plan.data.images, out=run, steps=4, resume=True)


def test_a_state_of_another_net_is_named(run):
    plan = json.loads((run / "plan.json").read_text())
    plan["net"]["architecture"] |= {"widths": [4, 16]}
    (run / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(ValueError, match=r"state\.safetensors: its tensors do not belong to the net of the plan: "):
        train(Run.open(run).plan.data.images, out=run, steps=4, resume=True)


def test_a_plan_of_other_data_or_of_no_net_is_named(run):
    text = (run / "plan.json").read_text()
    plan = json.loads(text)
    plan["data"]["n_images"] = 7
    (run / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(ValueError, match=r"plan\.json: the run was planned with data\.n_images 7, not 3"):
        train(plan["data"]["images"], out=run, steps=4, resume=True)


def test_a_state_without_a_number_is_named(run):
    change_header(run / "last/state.safetensors", lambda own: own.pop("losses") and None)
    with pytest.raises(ValueError, match=r"state\.safetensors: cannot be read: losses missing"):
        train(Run.open(run).plan.data.images, out=run, steps=4, resume=True)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"widths": ["a", "b"]}, "not those of an architecture"),
        ({"ndim": None}, "ndim is None"),
        ({"colour": 1}, "'colour'"),
        ({"widths": 3}, "not those of an architecture"),
        ({"widths": [1] * 40}, "at most 16"),
    ],
)
def test_an_architecture_that_is_not_possible_is_named(run, values, reason):
    plan = json.loads((run / "plan.json").read_text())
    plan["net"]["architecture"] |= values
    (run / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(ValueError, match=rf"plan\.json: is not a plan: .*{reason}"):
        Run.open(run)


@pytest.mark.parametrize("values", [{"widths": [2**20, 2**21]}, {"in_channels": 10**9}, {"widths": ["a"]}])
def test_a_card_that_asks_for_a_huge_net_takes_no_memory(run, values):
    change_header(run / "model.safetensors", lambda own: own["architecture"].update(values))
    with pytest.raises(ValueError, match=r"model\.safetensors: its weights do not belong to the net"):
        read_model(run)


def test_a_card_that_is_nested_too_deep_is_refused(run):
    change_header(run / "model.safetensors", lambda own: DEEP)
    with pytest.raises(ValueError, match=r"model\.safetensors: .*no unetkit card"):
        read_model(run)


@pytest.mark.parametrize("members", ['["../other"]', '["/tmp"]', "[]", "3", "[1]"])
def test_an_ensemble_names_folders_of_its_own(tmp_path, members):
    (tmp_path / "ensemble.json").write_text(f'{{"members": {members}}}')
    with pytest.raises(ValueError, match=r"ensemble\.json: (names the members|is damaged)"):
        read_model(tmp_path)
