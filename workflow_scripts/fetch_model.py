"""Fetches a base model from the Hugging Face hub at a pinned revision: configuration, tokenizer, safetensors."""

import shutil

from arcfold.files import InputError, new_folder
from arcfold.jobs import job
from arcfold.models import model_files


def main(hub: str, revision: str, output: str) -> None:
    from huggingface_hub import snapshot_download

    with new_folder(output) as folder:
        try:
            snapshot_download(
                hub, revision=revision, local_dir=folder, allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt"]
            )
        except Exception as error:  # the library's errors share no base class with those of its transport
            raise InputError(
                f"models: cannot fetch {hub} at {revision} ({' '.join(str(error).split())[:160]}); offline, "
                f"download it elsewhere, copy the folder here and give it as 'path' instead of 'hub'"
            ) from None
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        model_files(folder)


if "snakemake" in globals():
    with job(snakemake.log[0]):
        main(snakemake.params.hub, snakemake.params.revision, snakemake.output[0])
