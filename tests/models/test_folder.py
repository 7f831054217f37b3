import json
import shutil
from pathlib import Path

import pytest
from made_models import bigram_model
from shipped import ROOT

from arcfold.jobs.files import InputError
from arcfold.models.base import BaseModel, codec_of, gpu_number_type
from arcfold.models.folder import model_files, model_record
from arcfold.models.tokenizer import token_ids
from arcfold.models.transformers import load_pretrained

EMBEDDED = ROOT / "resources" / "base-15m"


@pytest.fixture
def folder(tmp_path):
    """A small model's folder, to be spoilt."""
    return bigram_model(tmp_path / "model")


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_embedded_models_ids_are_those_of_its_card():
    ids = {str(digit): digit for digit in range(10)} | {"\n": 10, "I": 11, "O": 12, "<eos>": 13}
    assert token_ids(EMBEDDED, "embedded") == ids
    record = model_record("base-15m", EMBEDDED, "embedded")
    assert (record["architecture"], record["positions"]) == ("ArcfoldQwen3ForCausalLM", 8192)
    assert codec_of(record).end == 13
    assert codec_of(record).longest_reply == 931


def test_a_models_hash_knows_weights_config_and_tokenizer_and_nothing_else(folder, tmp_path):
    first = model_record("x", folder, "embedded")["hash"]
    shutil.copytree(folder, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "README.md").write_text("a remark")
    assert model_record("y", tmp_path / "elsewhere", "embedded")["hash"] == first
    seen = {first}
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + b"\1" if name.endswith("safetensors") else content + b" ")
        seen.add(model_record("x", folder, "embedded")["hash"])
        (folder / name).write_bytes(content)
    assert len(seen) == 4


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_of_a_model_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{folder}: no {name}, expected a model folder with config.json, tokenizer"):
        model_files(folder)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_model_is_opened_only_as_its_record_describes_it(folder, name):
    record = model_record("small", folder, "embedded")
    BaseModel.open(folder, record)
    # a record that was written before there were hashes of single files
    old = {key: value for key, value in record.items() if key != "files"}
    BaseModel.open(folder, old)
    flip(folder / name)
    with pytest.raises(InputError, match=f"^{folder}/{name}: does not match its hash in results/models/small.json"):
        BaseModel.open(folder, record)
    with pytest.raises(InputError, match=f"^{folder}: does not match its hash in results/models/small.json"):
        BaseModel.open(folder, old)


def test_a_folder_with_sums_of_its_own_is_checked_against_them_before_it_has_a_record(tmp_path):
    shutil.copytree(EMBEDDED, tmp_path / "copy")
    # whoever made the sums may have had more files
    with (tmp_path / "copy" / "SHA256SUMS").open("a") as stream:
        stream.write(f"{'0' * 64}  not_fetched.bin\n")
    model_record("m", tmp_path / "copy", "embedded")
    flip(tmp_path / "copy" / "model.safetensors")
    with pytest.raises(InputError, match=r"copy/model.safetensors: does not match its hash in .*copy/SHA256SUMS"):
        model_record("m", tmp_path / "copy", "embedded")


def test_pickled_weights_are_not_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        model_files(folder)


def test_weights_in_parts_are_found_by_their_index(folder):
    (folder / "model.safetensors").rename(folder / "part-1.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}})
    )
    with pytest.raises(InputError, match=r"no part-2\.safetensors"):
        model_files(folder)
    (folder / "part-2.safetensors").touch()
    assert model_files(folder) == sorted(
        ["config.json", "tokenizer.json", "model.safetensors.index.json", "part-1.safetensors", "part-2.safetensors"]
    )


def test_a_tokenizer_without_a_token_of_the_format_is_named(folder):
    with pytest.raises(
        InputError, match=r"tokenizer\.json: no single token for '<\|im_start\|>', which .* nvarc needs"
    ):
        token_ids(folder, "nvarc")
    edit(folder / "tokenizer.json", lambda content: content["model"]["vocab"].pop("O"))
    with pytest.raises(InputError, match=r"tokenizer\.json: no single token for 'O', which .* embedded needs"):
        token_ids(folder, "embedded")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", "{", r"config\.json: line 1, column 2: the JSON ends here in the middle"),
        ("config.json", "[]", r"config\.json: no vocab_size"),
        ("config.json", '{"vocab_size": 5}', r"token id 13 with a vocabulary of 5"),
        ("tokenizer.json", "{}", r"tokenizer\.json: no readable tokenizer"),
        ("tokenizer.json", "", r"tokenizer\.json: no readable tokenizer"),
    ],
)
def test_an_unreadable_file_of_a_model_is_named_in_one_line(folder, name, content, said):
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=said) as error:
        model_record("x", folder, "embedded")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"nothing"),
        ("model.safetensors", b""),
        ("config.json", b'{"model_type": "no such model", "vocab_size": 16}'),
        ("config.json", b'{"vocab_size": 16}'),
    ],
)
def test_a_model_that_cannot_be_loaded_is_named_in_one_line(folder, name, content):
    import torch

    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=str(folder)) as error:
        load_pretrained(BaseModel.open(folder), torch.device("cpu"))
    assert "\n" not in str(error.value)


def test_weights_of_another_shape_are_refused(folder):
    import torch

    edit(folder / "config.json", lambda content: content.update(intermediate_size=64))
    with pytest.raises(InputError, match=str(folder)) as error:
        load_pretrained(BaseModel.open(folder), torch.device("cpu"))
    assert "\n" not in str(error.value)


def test_weights_that_lack_a_layer_are_refused(folder):
    import torch

    edit(
        folder / "config.json", lambda content: content.update(num_hidden_layers=3, layer_types=["full_attention"] * 3)
    )
    with pytest.raises(InputError, match=str(folder)) as error:
        load_pretrained(BaseModel.open(folder), torch.device("cpu"))
    assert "\n" not in str(error.value)


def test_a_model_computes_in_bfloat16_where_the_processor_multiplies_it_and_as_told_otherwise(folder):
    import torch

    cpu, cpuinfo = torch.device("cpu"), Path("/proc/cpuinfo")
    if cpuinfo.exists():  # the kernel's word for the same units
        has_units = "amx_bf16" in cpuinfo.read_text()
        assert load_pretrained(BaseModel.open(folder), cpu).dtype == (torch.bfloat16 if has_units else torch.float32)
    for name in ("float32", "bfloat16", "float16"):
        assert load_pretrained(BaseModel.open(folder, dtype=name), cpu).dtype == getattr(torch, name)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((6, 0), "float16"),  # P100
        ((7, 0), "float16"),  # V100
        ((7, 5), "float16"),  # T4
        ((8, 0), "bfloat16"),  # A100
        ((8, 9), "bfloat16"),  # L4
        ((9, 0), "bfloat16"),  # H100
        ((12, 0), "bfloat16"),
    ],
)
def test_auto_is_float16_on_gpus_without_bfloat16(capability: tuple[int, int], expected: str) -> None:
    assert gpu_number_type(capability) == expected


def test_longer_sequences_than_the_model_has_positions_are_refused():
    base = BaseModel(Path("small"), {}, {"name": "small", "positions": 2048})
    base.check_length(2048, "search/longest")
    BaseModel(Path("small"), {}, {"name": "small", "positions": None}).check_length(10**6, "search/longest")
    with pytest.raises(
        InputError, match=r"settings/search/longest: 2049, expected at most 2048, the positions of small"
    ):
        base.check_length(2049, "search/longest")
