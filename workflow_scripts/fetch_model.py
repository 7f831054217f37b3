"""Fetches a base model from the Hugging Face hub at a pinned revision: configuration, tokenizer, safetensors."""

import os
import shutil
from pathlib import Path

from arcfold.jobs.files import InputError
from arcfold.jobs.job import job
from arcfold.models.folder import how_to_get, model_files

# weights once: some repositories have them a second time under other names, or in folders
WANTED = ["*.json", "*.txt", "*.model", "model*.safetensors"]
UNWANTED = ["*/*"]


def main(name: str, hub: str, revision: str, output: str) -> None:
    from huggingface_hub import snapshot_download

    # an undeclared folder outlives a failed job: the next one goes on where the download ended
    partial = Path(output).with_name(f".{Path(output).name}.{revision}")
    entry = {"hub": hub, "revision": revision}
    try:
        snapshot_download(hub, revision=revision, local_dir=partial, allow_patterns=WANTED, ignore_patterns=UNWANTED)
        model_files(partial)
    except InputError as error:
        raise InputError(f"models/{name}: {hub} at {revision} is no model for this workflow ({error})") from None
    except Exception as error:  # the library's errors share no base class with those of its transport
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(
            f"models/{name}: cannot fetch {hub} at {revision} ({reason}); {how_to_get(name, entry)}"
        ) from None
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    shutil.rmtree(output, ignore_errors=True)
    os.replace(partial, output)


if "snakemake" in globals():
    offline = os.environ.get("HF_HUB_OFFLINE", "0")
    with job(snakemake):
        # jobs are offline unless their purpose is to fetch; a user's own wish still holds
        os.environ["HF_HUB_OFFLINE"] = offline
        main(snakemake.wildcards.model, snakemake.params.hub, snakemake.params.revision, snakemake.output[0])
