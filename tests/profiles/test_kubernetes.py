"""The profile for Kubernetes, with the executor's own code: its manifests, and its pods as processes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from eight_folds import make_workflow

from arcfold.jobs.files import without_provenance

for name in ("snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_s3", "kubernetes_validate", "moto"):
    pytest.importorskip(name, reason="the plugins are no part of the environment")

SCORE = "results/score_2folds.json"


def test_a_fold_is_a_pod_with_a_gpu_and_gives_what_this_machine_gives(tmp_path: Path) -> None:
    import kubernetes_api
    import object_storage

    workflow = make_workflow(tmp_path / "clone")
    programs = [str(Path(program).parent) for program in (sys.executable, shutil.which("sh")) if program]
    image = {
        "PATH": kubernetes_api.path_of_pods(tmp_path, *programs),
        "ARCFOLD_FILES": str(workflow.folder),
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "HOME": str(tmp_path),
    }
    with object_storage.running() as storage, kubernetes_api.running(tmp_path, image) as (cluster, kubeconfig):
        given, environment = workflow.command(
            SCORE, "--workflow-profile", "profiles/kubernetes", "--container-image", "registry.example.org/arcfold",
            "--default-storage-prefix", object_storage.PREFIX, "--seconds-between-status-checks", "1",
        )  # fmt: skip
        place = given.index("--cores")
        environment |= {**storage.environment, "KUBECONFIG": str(kubeconfig)}
        ended = workflow.run([*given[:place], *given[place + 2 :]], environment)
        objects = storage.objects()
        logs = [cluster.log(name) for name in cluster.pods]
    assert ended.status == 0, "\n".join([ended.said, *logs])
    assert cluster.invalid == []
    assert len(cluster.manifests) == 2
    for manifest in cluster.manifests:
        pod = manifest["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == "registry.example.org/arcfold"
        needs = container["resources"]
        # of an extended resource Kubernetes wants both, and equal
        assert needs["limits"]["nvidia.com/gpu"] == needs["requests"]["nvidia.com/gpu"] == "1"
        assert needs["limits"]["memory"] == needs["requests"]["memory"]
        assert int(needs["limits"]["memory"].removesuffix("M")) >= 2000
        assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
        # secrets come as secrets
        assert "secret" not in "".join(container["args"])
        for rule in ("train_adapter", "search_candidates", "rescore_candidates"):
            assert f"{rule}:" in container["args"][1]
    assert SCORE in objects

    local = make_workflow(tmp_path / "local")
    assert local(SCORE).status == 0
    stored = "results/store/rescored"
    (fold,) = local.path(stored).rglob("fold-1.json")
    (of_pod,) = (content for key, content in objects.items() if key.startswith(stored) and key.endswith("fold-1.json"))
    assert without_provenance(json.loads(of_pod)) == without_provenance(json.loads(fold.read_text()))
    assert os.path.samefile(workflow.path(SCORE), workflow.path(f".snakemake/storage/s3/bucket/mine/{SCORE}"))
