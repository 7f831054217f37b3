"""A Kubernetes of this machine's processes: what the executor plugin asks of the API, and a pod is a process.

Each job is validated against the schema of Kubernetes and then done, in a new empty folder in place of `/workdir`, with
the environment that its manifest says and that of an image. There is no scheduler, and no container.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml


class Cluster:
    """What was asked of it, and how its pods ended.

    folder: for the pods; image: the environment that every container has
    """

    def __init__(self, folder: Path, image: Mapping[str, str]) -> None:
        self.folder, self.image = folder, dict(image)
        self.manifests: list[dict[str, Any]] = []
        self.invalid: list[str] = []
        self.secrets: dict[str, dict[str, str]] = {}
        self.pods: dict[str, subprocess.Popen[bytes]] = {}

    def create(self, manifest: dict[str, Any]) -> None:
        """Validates a job and starts its pod."""
        whole = {"apiVersion": "batch/v1", "kind": "Job", **manifest}
        self.manifests.append(whole)
        try:
            kubernetes_validate.validate(whole, "1.31", strict=True)
        except kubernetes_validate.ValidationError as error:
            self.invalid.append(str(error))
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        name = manifest["metadata"]["name"]
        here = self.folder / name
        here.mkdir(parents=True)
        environment = dict(self.image)
        for variable in container.get("env", []):
            reference = variable["valueFrom"]["secretKeyRef"]
            environment[variable["name"]] = self.secrets[reference["name"]][reference["key"]]
        with (self.folder / f"{name}.log").open("wb") as log:
            command = [*container["command"], *container["args"]]
            self.pods[name] = subprocess.Popen(command, cwd=here, env=environment, stdout=log, stderr=log)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def pod(self, name: str) -> dict[str, Any]:
        """A pod as the API shows it."""
        status = self.pods[name].poll()
        state = {"running": {}} if status is None else {"terminated": {"exitCode": status}}
        shown = {"name": "snakemake", "state": state, "image": "i", "imageID": "i", "ready": True, "restartCount": 0}
        return {"metadata": {"name": name}, "status": {"containerStatuses": [shown]}}

    def job(self, name: str) -> dict[str, Any]:
        """A job as the API shows it."""
        status = self.pods[name].poll()
        counted = {} if status is None else {"failed" if status else "succeeded": 1}
        return {"metadata": {"name": name}, "status": counted}


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/secrets"):
            data = {key: base64.b64decode(value).decode() for key, value in content.get("data", {}).items()}
            self.cluster.secrets[content["metadata"]["name"]] = data
        else:
            self.cluster.create(content)
        self._answer(content)

    def do_GET(self) -> None:
        if found := re.search(r"/jobs/([^/]+)/status$", self.path):
            self._answer(self.cluster.job(found[1]))
        elif found := re.search(r"/pods/([^/]+)/log", self.path):
            self._answer(self.cluster.log(found[1]))
        elif found := re.search(r"job-name(?:%3D|=)([\w-]+)", self.path):
            self._answer({"items": [self.cluster.pod(found[1])]})
        else:
            self.send_error(404)

    def do_DELETE(self) -> None:
        if found := re.search(r"/(?:jobs|pods)/([^/?]+)", self.path):
            self.cluster.pods[found[1]].kill()
        self._answer({})

    def _answer(self, content: Any) -> None:
        body = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def running(folder: Path, image: Mapping[str, str]) -> Iterator[tuple[Cluster, Path]]:
    """A cluster and the kubeconfig that leads to it."""
    cluster = Cluster(folder / "pods", image)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": cluster}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    config = folder / "kubeconfig"
    named = {"name": "here"}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [named | {"cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [named | {"user": {}}],
        "contexts": [named | {"context": {"cluster": "here", "user": "here"}}],
    }
    config.write_text(yaml.safe_dump(content))
    try:
        yield cluster, config
    finally:
        for pod in cluster.pods.values():
            pod.kill()
        server.shutdown()
        thread.join()
        server.server_close()


def path_of_pods(folder: Path, *programs: str) -> str:
    """A PATH with these folders of programs, and a pip that installs nothing: an image has the plugins."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    pip = folder / "bin" / "pip"
    pip.write_text("#!/bin/sh\n")
    pip.chmod(0o755)
    return os.pathsep.join([str(folder / "bin"), *programs])
