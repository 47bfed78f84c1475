"""Embeddings that need no model, served over HTTP as OpenAI's are and as a LangChain object."""

import json
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from langchain_core.embeddings import Embeddings

DIMENSION = 32


def hash_embedding(text: str) -> list[float]:
    """Counts of words by hash, not of length 1."""
    vector = [0.125] * DIMENSION
    for word in re.findall(r"\w+", text.casefold()):
        vector[zlib.crc32(word.encode()) % DIMENSION] += 1.0
    return vector


class HashEmbeddings(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [hash_embedding(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return hash_embedding(text)


class EmbeddingServer(ThreadingHTTPServer):
    """Answers `POST /v1/embeddings`; `replies` are (status, headers, body) that come first, one for each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: list[tuple[int, dict[str, str], Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: EmbeddingServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.authorizations.append(self.headers.get("Authorization"))
        # in reverse, because the index and not the place says which text a vector belongs to
        data = [{"index": i, "embedding": hash_embedding(text)} for i, text in enumerate(body["input"])][::-1]
        status, headers, answer = self.server.replies.pop(0) if self.server.replies else (200, {}, {"data": data})
        content = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Silent."""


@contextmanager
def embedding_server() -> Iterator[EmbeddingServer]:
    with EmbeddingServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
