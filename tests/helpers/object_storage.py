"""An S3 server of this machine (moto's), in which an upload can be held in its middle."""

from __future__ import annotations

import os
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "bucket"
PREFIX = f"s3://{BUCKET}/mine"
STORAGE = ("--default-storage-provider", "s3", "--default-storage-prefix", PREFIX)


class Storage:
    """The server's objects.

    hold: an expression for keys; the second upload to one that matches stops in its middle
    """

    def __init__(self) -> None:
        self.hold: re.Pattern[str] | None = None
        self.held, self.free = threading.Event(), threading.Event()
        self._matched: set[str] = set()
        self._app = DomainDispatcherApplication(create_backend_app)
        self.server = make_server("127.0.0.1", 0, self._answer, threaded=True)

    @property
    def environment(self) -> dict[str, str]:
        """What tells the storage plugin of it."""
        begin = "SNAKEMAKE_STORAGE_S3_"
        return {
            f"{begin}ENDPOINT_URL": f"http://127.0.0.1:{self.server.port}",
            f"{begin}ACCESS_KEY": "key",
            f"{begin}SECRET_KEY": "secret",
        }

    def objects(self) -> dict[str, bytes]:
        """The content of each object, by its key below the prefix."""
        bucket = boto3.resource(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.server.port}",
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        ).Bucket(BUCKET)
        return {each.key.removeprefix("mine/"): each.get()["Body"].read() for each in bucket.objects.all()}

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ["PATH_INFO"]
        if self.hold and environ["REQUEST_METHOD"] == "PUT" and self.hold.search(path):
            self._matched.add(path)
            if len(self._matched) > 1:
                environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]) // 2)
                self.held.set()
                self.free.wait()
                start_response("503 Slow Down", [])
                return [b""]
        return self._app(environ, start_response)


@contextmanager
def running() -> Iterator[Storage]:
    storage = Storage()
    thread = threading.Thread(target=storage.server.serve_forever)
    thread.start()
    # requests to this machine do not go through a proxy
    os.environ["NO_PROXY"] = "127.0.0.1"
    # the process has one memory of objects for all servers
    urllib.request.urlopen(f"http://127.0.0.1:{storage.server.port}/moto-api/reset", data=b"").close()
    try:
        yield storage
    finally:
        storage.free.set()
        storage.server.shutdown()
        thread.join()
