"""A vocabulary cut to a format: text survives, the logits of kept tokens stay, and so does every other weight."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from urllib.parse import unquote, urlsplit

import fetch_model
import pytest
import torch
import yaml
from made_models import full_model
from made_tasks import grid, task
from made_tokenizers import KINDS
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from shipped import ROOT
from tiny_models import by_grids
from transformers import AutoModelForCausalLM, AutoTokenizer

from arcfold.arc.text import FORMATS, Codec
from arcfold.jobs.files import InputError, check_schema, read_json, write_json
from arcfold.models.base import BaseModel, codec_of
from arcfold.models.folder import model_files, model_record
from arcfold.models.positions import MODEL_TYPE
from arcfold.models.tokenizer import token_ids
from arcfold.models.transformers import load_pretrained
from arcfold.models.vocabulary import HEADS, copy_with_rows, cut_vocabulary
from arcfold.models.weights import EMBEDDING, read_header

TASK = task("a", [("12 30", "4"), ("123 456", "678 901")], [("89 89", "1")])
CPU = torch.device("cpu")


def table_of(folder):
    content = read_json(folder / "vocabulary.json", "vocabulary")
    assert [row["new_id"] for row in content["tokens"]] == list(range(content["size"]))
    return content["tokens"]


def logits(folder, ids, dtype="float32"):
    with torch.no_grad():
        return load_pretrained(BaseModel.open(folder, dtype=dtype), CPU)(torch.tensor([ids])).logits[0].float()


# every architecture, tied and not, with each kind of tokenizer and each format that it can have
CASES = [
    ("llama", "llama3", "architects", True, 50),
    ("llama", "sentencepiece", "embedded", False, 15),
    ("mistral", "sentencepiece", "architects", False, 67),
    ("mistral", "llama3", "embedded", True, 16),
    ("qwen2", "qwen", "nvarc", True, 16),
    ("qwen2", "qwen", "architects", False, 67),
    ("qwen3", "qwen", "nvarc", False, 16),
    ("qwen3", "qwen", "embedded", True, 15),
]


@pytest.mark.parametrize(("architecture", "kind", "name", "tied", "size"), CASES)
def test_text_survives_and_the_logits_of_kept_tokens_stay(tmp_path, architecture, kind, name, tied, size):
    source = full_model(tmp_path / "full", architecture, kind, tied=tied)
    cut = tmp_path / "cut"
    cut_vocabulary(source, name, cut)

    old, new = (codec_of(model_record("x", folder, name)) for folder in (source, cut))
    rows = table_of(cut)
    old_ids = [row["old_id"] for row in rows]
    new_of_old = {row["old_id"]: row["new_id"] for row in rows}
    prompt = new.prompt(TASK, 0, 10**4) + tuple(new.reply(TASK.test[0].output))
    before = old.prompt(TASK, 0, 10**4) + tuple(old.reply(TASK.test[0].output))
    assert [new_of_old[number] for number in before] == list(prompt)

    # text → ids → text
    tokenizer = AutoTokenizer.from_pretrained(cut)
    assert len(tokenizer) == len(rows)
    body = list(prompt[len(new.head) :])
    text = tokenizer.decode(body)
    assert text == "".join(rows[number]["token"] for number in body)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == body
    assert tokenizer(text)["input_ids"] == list(prompt)
    assert tokenizer.decode(prompt) == tokenizer.decode(list(new.head)) + text

    # the model computes the same
    now, then = logits(cut, list(prompt)), logits(source, list(before))
    assert now.shape == (len(prompt), len(rows))
    torch.testing.assert_close(now, then[:, old_ids], rtol=1e-5, atol=1e-5)
    model = AutoModelForCausalLM.from_pretrained(cut)
    assert model.config.tie_word_embeddings is tied
    assert (model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()) is tied
    assert (HEADS[0] in read_header(cut / "model.safetensors")) is not tied


def test_what_qwens_own_tokenizer_makes_of_nvarcs_text_is_what_the_cut_one_makes(tmp_path):
    source = full_model(tmp_path / "full", "qwen3", "qwen")
    cut_vocabulary(source, "nvarc", tmp_path / "cut")
    text = (
        "<|im_start|>user\n12\n30<|im_end|><|im_start|>assistant\n4<|im_end|>"
        "<|im_start|>user\n8\n9<|im_end|><|im_start|>assistant\n7<|im_end|>"
    )
    rows = table_of(tmp_path / "cut")
    new_of_old = {row["old_id"]: row["new_id"] for row in rows}
    old, new = KINDS["qwen"](), AutoTokenizer.from_pretrained(tmp_path / "cut")
    assert new(text)["input_ids"] == [new_of_old[number] for number in old.encode(text).ids]
    # the order of the old ids; for Qwen3's that gives the ids of the published model with 16 tokens
    assert [row["old_id"] for row in rows] == sorted(row["old_id"] for row in rows)
    assert {row["token"] for row in rows} == {
        *"0123456789\n",
        *("user", "assistant", "<|im_start|>", "<|im_end|>", "<|endoftext|>"),
    }
    assert (new.pad_token, new.eos_token) == ("<|endoftext|>", "<|im_end|>")


def test_only_embedding_and_head_change_and_every_part_keeps_its_name_and_number_type(tmp_path):
    source = full_model(tmp_path / "full", "qwen3", "qwen", dtype=torch.bfloat16, parts=True)
    cut = tmp_path / "cut"
    cut_vocabulary(source, "nvarc", cut)
    assert model_files(cut) == model_files(source)
    assert len(model_files(cut)) > 5
    index, index_before = (read_json(folder / "model.safetensors.index.json") for folder in (cut, source))
    assert index["weight_map"] == index_before["weight_map"]
    old_ids = [row["old_id"] for row in table_of(cut)]
    total = 0
    for part in sorted(set(index["weight_map"].values())):
        now, then = load_file(cut / part), load_file(source / part)
        assert now.keys() == then.keys()
        with safe_open(cut / part, "pt") as opened:
            assert opened.metadata() == {"format": "pt"}
        for tensor, value in now.items():
            expected = then[tensor][old_ids] if tensor in (EMBEDDING, *HEADS) else then[tensor]
            assert value.dtype == torch.bfloat16
            assert torch.equal(value, expected)
            total += value.nbytes
    assert index["metadata"] == {"total_size": total}
    assert torch.isfinite(logits(cut, [0, 1, 2], "bfloat16")).all()


def test_a_file_is_copied_byte_for_byte_but_for_the_chosen_rows(tmp_path):
    tensors = {
        "a.scalar": torch.tensor(3.0),
        "b.empty": torch.zeros(0, 4),
        "c.packed": torch.arange(7, dtype=torch.uint8),
        "d.rows": torch.randn(9, 3, dtype=torch.float16),
        "e.bias": torch.randn(9),
        "f.double": torch.randn(2, 2, dtype=torch.float64),
        "g.scale": torch.randn(5).to(torch.float8_e4m3fn),
    }
    save_file(tensors, tmp_path / "old", metadata={"format": "pt", "more": "ü"})
    copy_with_rows(tmp_path / "old", tmp_path / "new", {"d.rows": [8, 0, 8], "e.bias": [1], "other": [5]})
    now = load_file(tmp_path / "new")
    assert now.keys() == tensors.keys()
    for name, value in tensors.items():
        rows = {"d.rows": [8, 0, 8], "e.bias": [1]}.get(name)
        expected = value if rows is None else value[rows]
        assert (now[name].dtype, now[name].shape) == (expected.dtype, expected.shape)
        assert (
            now[name].view(torch.uint8).equal(expected.view(torch.uint8)) if expected.dim() else now[name] == expected
        )
    with safe_open(tmp_path / "new", "pt") as opened:
        assert opened.metadata() == {"format": "pt", "more": "ü"}
    copy_with_rows(tmp_path / "old", tmp_path / "same", {"nothing": [0]})
    assert (tmp_path / "same").read_bytes() == (tmp_path / "old").read_bytes()


def test_special_ids_are_renewed_and_those_of_tokens_that_are_gone_are_null(tmp_path):
    source = full_model(tmp_path / "full", "llama", "llama3")
    number = KINDS["llama3"]().token_to_id
    ends = [number("<|end_of_text|>"), number("<|eot_id|>")]
    write_json(source / "config.json", read_json(source / "config.json") | {"eos_token_id": ends, "x_token_id": 5})
    write_json(
        source / "generation_config.json",
        {
            "bos_token_id": number("<|begin_of_text|>"),
            "eos_token_id": [*ends, number("1")],
            "pad_token_id": number("<|end_of_text|>"),
            "suppress_tokens": [3],
            "temperature": 0.6,
        },
    )
    cut_vocabulary(source, "architects", tmp_path / "cut")
    now = {row["token"]: row["new_id"] for row in table_of(tmp_path / "cut")}
    config = read_json(tmp_path / "cut" / "config.json")
    assert "<|end_of_text|>" not in now
    assert config["eos_token_id"] == now["<|eot_id|>"]
    assert config["bos_token_id"] == now["<|begin_of_text|>"]
    assert config["pad_token_id"] is None
    assert config["x_token_id"] is None
    assert config["vocab_size"] == len(now)
    assert read_json(tmp_path / "cut" / "generation_config.json") == {
        "bos_token_id": now["<|begin_of_text|>"],
        "eos_token_id": [now["<|eot_id|>"], now["1"]],
        "pad_token_id": None,
        "temperature": 0.6,
    }


def test_a_key_that_config_json_leaves_to_its_architecture_is_written(tmp_path):
    """Llama's own default for the end of a sequence is 2: a digit after the cut."""
    source = full_model(tmp_path / "full", "llama", "sentencepiece")
    config = read_json(source / "config.json")
    write_json(source / "config.json", {key: value for key, value in config.items() if not key.endswith("token_id")})
    cut_vocabulary(source, "embedded", tmp_path / "cut")
    now = {row["token"]: row["new_id"] for row in table_of(tmp_path / "cut")}
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "cut").config
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (now["<s>"], now["</s>"], None)


def test_foreign_text_is_unknown_and_no_failure(tmp_path):
    source = full_model(tmp_path / "full", "qwen3", "qwen")
    cut_vocabulary(source, "nvarc", tmp_path / "cut")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "cut")
    assert tokenizer.decode(tokenizer("1 A2")["input_ids"]) == "1<|endoftext|><|endoftext|>2"


def test_the_same_model_is_cut_to_the_same_bytes(tmp_path):
    source = full_model(tmp_path / "full", "qwen2", "qwen", parts=True)
    for name in ("one", "two"):
        cut_vocabulary(source, "nvarc", tmp_path / name, {"path": "models/full"})
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} < set(files)
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert read_json(tmp_path / "one" / "vocabulary.json")["origin"] == {"path": "models/full"}


def test_a_cut_model_can_be_cut_again(tmp_path):
    source = full_model(tmp_path / "full", "mistral", "sentencepiece")
    cut_vocabulary(source, "architects", tmp_path / "one")
    cut_vocabulary(tmp_path / "one", "architects", tmp_path / "two")
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_embedded_models_tokenizer_keeps_its_ids(tmp_path):
    cut_vocabulary(ROOT / "resources" / "base-15m", "embedded", tmp_path / "cut")
    assert token_ids(tmp_path / "cut", "embedded") == token_ids(ROOT / "resources" / "base-15m", "embedded")
    assert [row["token"] for row in table_of(tmp_path / "cut")] == [*"0123456789\nIO", "<eos>", "<pad>"]


def without_head(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(HEADS[0])
    save_file(tensors, folder / "model.safetensors")


def renamed(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.wte.weight"] = tensors.pop(EMBEDDING)
    save_file(tensors, folder / "model.safetensors")


def quantized(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors[HEADS[0]] = tensors[HEADS[0]].to(torch.int8)
    save_file(tensors, folder / "model.safetensors")


def shortened(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1])


def pointer(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def other_size(folder):
    write_json(folder / "config.json", read_json(folder / "config.json") | {"vocab_size": 500})


def broken_index(folder):
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"a": "../model.safetensors"}})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_head, r"no tensor lm_head\.weight, expected it as config\.json has tie_word_embeddings false"),
        (renamed, r"no tensor model\.embed_tokens\.weight, expected a model that names them as"),
        (quantized, r"lm_head\.weight is quantized \(I8\), expected one of F64, F32, F16, BF16"),
        (shortened, r"model\.safetensors: \d+ bytes, expected \d+ \(a broken download\?\)"),
        (pointer, r"model\.safetensors: a pointer of git-lfs, not the weights"),
        (other_size, r"model\.embed_tokens\.weight has \d+ rows, expected 500, one for each token"),
        (broken_index, r"model\.safetensors\.index\.json: no weight_map"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 99), r"no readable safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), r"no readable safetensors"),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            r"no model\.safetensors, expected a model folder with",
        ),
        (lambda folder: (folder / "config.json").write_text("{}"), r"config\.json: no vocab_size"),
    ],
)
def test_what_cannot_be_cut_is_named_in_one_line_and_leaves_nothing(tmp_path, spoil, said):
    source = full_model(tmp_path / "full", "qwen3", "qwen")
    spoil(source)
    with pytest.raises(InputError, match=said) as error:
        cut_vocabulary(source, "nvarc", tmp_path / "cut")
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_missing_token_is_named_before_anything_is_written(tmp_path):
    source = full_model(tmp_path / "full", "llama", "llama3")
    with pytest.raises(
        InputError, match=r"tokenizer\.json: no single token for '.+', which the text format nvarc needs"
    ):
        cut_vocabulary(source, "nvarc", tmp_path / "cut")
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    merges = tokenizer["model"]["merges"]
    tokenizer["model"]["merges"] = [pair for pair in merges if "7" not in "".join(pair)]
    tokenizer["model"]["vocab"] = {
        token: number for token, number in tokenizer["model"]["vocab"].items() if "7" not in token
    }
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(InputError, match=r"no single token for '7', which the text format architects needs"):
        cut_vocabulary(source, "architects", tmp_path / "cut")
    assert not (tmp_path / "cut").exists()


def test_a_padding_that_the_format_names_must_be_there(tmp_path):
    source = full_model(tmp_path / "full", "qwen3", "qwen")
    content = (source / "tokenizer.json").read_text().replace("<|endoftext|>", "<|nothing|>")
    (source / "tokenizer.json").write_text(content)
    assert len(token_ids(source, "nvarc")) == 15
    with pytest.raises(
        InputError, match=r"no single token for '<\|endoftext\|>', which the text format nvarc pads with"
    ):
        cut_vocabulary(source, "nvarc", tmp_path / "cut")


REVISION = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """What huggingface_hub asks of its endpoint, for one repository on this machine."""

    folder = None

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        names = sorted(file.name for file in self.folder.iterdir())
        if path == f"/api/models/tiny/model/tree/{REVISION}":
            # others of the repository's files must not be asked for: they are not there
            listed = [*names, "onnx/model.safetensors", "consolidated.safetensors", "pytorch_model.bin"]
            entries = [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in listed]
            content = json.dumps(entries).encode()
        elif path.startswith(f"/tiny/model/resolve/{REVISION}/") and path.rpartition("/")[2] in names:
            content = (self.folder / path.rpartition("/")[2]).read_bytes()
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hash(content)}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path):
    """The address of a hub that has tiny/model."""
    Hub.folder = full_model(tmp_path / "published", "qwen3", "qwen", tied=True)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def snakemake(folder, models, *targets, **environment):
    """Calls the workflow's own rules in a folder, with these models."""
    shutil.copy(ROOT / "config.yaml", folder)
    (folder / "mine.yaml").write_text(yaml.safe_dump({"models": models}))
    command = ["snakemake", *targets, "--snakefile", str(ROOT / "Snakefile"), "--cores", "1"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env |= {"PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{env['PATH']}", "HF_HOME": str(folder / "hf")}
    call = [*command, "--configfile", "mine.yaml"]
    done = subprocess.run(call, cwd=folder, env=env | environment, capture_output=True, text=True)
    said = done.stdout + done.stderr
    return done.returncode, said, set(re.findall(r"^error: .*$", said, re.M))


def test_the_rules_fetch_a_model_cut_it_and_describe_it(tmp_path, hub):
    entry = {"hub": "tiny/model", "revision": REVISION, "format": "nvarc", "cut": True}
    status, said, _ = snakemake(tmp_path, {"x": entry}, "results/models/x.json", HF_ENDPOINT=hub)
    assert status == 0, said
    fetched = tmp_path / "results" / "hub" / "x"
    names = {path.name for path in fetched.iterdir()} - {".snakemake_timestamp"}
    assert names == {path.name for path in Hub.folder.iterdir()}
    assert (fetched / "model.safetensors").read_bytes() == (Hub.folder / "model.safetensors").read_bytes()
    assert [path.name for path in fetched.parent.iterdir()] == ["x"]
    cut = tmp_path / "results" / "models" / "x"
    content = read_json(cut / "vocabulary.json", "vocabulary")
    assert content["origin"] == {"hub": "tiny/model", "revision": REVISION}
    assert (content["size_before"], content["size"]) == (KINDS["qwen"]().get_vocab_size() + 10, 16)
    record = read_json(cut.with_suffix(".json"), "model")
    assert record == model_record("x", cut, "nvarc")
    assert torch.isfinite(logits(cut, list(codec_of(record).prompt(TASK, 0, 10**4)))).all()


def test_missing_weights_of_the_hub_are_named_with_what_to_download_and_where_to_put_it(tmp_path):
    with pytest.raises(InputError) as error:
        fetch_model.main("far", "tiny/model", REVISION, str(tmp_path / "hub" / "far"))
    line = str(error.value)
    assert "\n" not in line
    assert f"models/far: cannot fetch tiny/model at {REVISION}" in line
    assert f"hf download tiny/model --revision {REVISION} --local-dir models/far" in line
    assert "'path: models/far' in place of hub and revision under models/far in the config" in line
    assert not (tmp_path / "hub" / "far").exists()


def test_missing_weights_of_a_folder_are_named_before_anything_runs(tmp_path):
    models = {"near": {"path": "models/near", "format": "nvarc", "cut": True}}
    status, said, lines = snakemake(tmp_path, models, "results/models/near.json", "--dry-run")
    assert (status, len(lines)) == (1, 1), said
    (line,) = lines
    assert f"models/near: no such folder, neither in {tmp_path} nor in {ROOT}" in line
    assert "hf download ORGANISATION/NAME --revision COMMIT --local-dir models/near" in line


def test_the_config_says_what_can_be_cut(config):
    for cut in (True, False):
        config["models"]["base-15m"]["cut"] = cut
        check_schema(config, "config", "config")
    config["models"]["base-15m"]["cut"] = "yes"
    with pytest.raises(InputError, match="models/base-15m/cut: 'yes' is not of type 'boolean'"):
        check_schema(config, "config", "config")


def test_the_grid_of_a_reply_is_read_back_with_the_cut_models_ids(tmp_path):
    source = full_model(tmp_path / "full", "qwen2", "qwen")
    cut_vocabulary(source, "nvarc", tmp_path / "cut")
    codec = codec_of(model_record("x", tmp_path / "cut", "nvarc"))
    assert codec.decode(codec.reply(grid("12 30"))) == grid("12 30")


def test_positions_by_grids_are_cut_with_the_ids(tmp_path):
    tokens = {"cells": list(range(10)), "row_end": [10], "opening": [11, 12]}
    source = full_model(tmp_path / "full", MODEL_TYPE, "qwen", **by_grids(8, tokens))
    config = read_json(source / "config.json")
    ids = token_ids(source, "embedded")
    config["grid_tokens"] = Codec(FORMATS["embedded"], ids).grid_tokens()
    write_json(source / "config.json", config)
    cut_vocabulary(source, "embedded", tmp_path / "cut")
    old, new = (codec_of(model_record("x", folder, "embedded")) for folder in (source, tmp_path / "cut"))
    prompts = [codec.prompt(TASK, 0, 10**4) for codec in (old, new)]
    kept = [row["old_id"] for row in table_of(tmp_path / "cut")]
    assert torch.equal(logits(source, prompts[0])[:, kept], logits(tmp_path / "cut", prompts[1]))


def test_grids_that_are_not_the_formats_are_refused(tmp_path):
    tokens = {"cells": list(range(10)), "row_end": [10], "opening": [11]}
    source = full_model(tmp_path / "full", MODEL_TYPE, "qwen", **by_grids(8, tokens))
    with pytest.raises(InputError, match="grid_tokens is not that of the text format embedded"):
        model_record("x", source, "embedded")
    with pytest.raises(InputError, match="grid_tokens is not that of the text format nvarc, expected another model"):
        model_record("x", source, "nvarc")
