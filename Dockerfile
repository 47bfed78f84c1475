# The API and the command line in one image. No Docker engine was at hand when this was written: it has never been built.
#
#     docker build -t quoth .                            everything but torch: ONNX embedder, extractive and remote models
#     docker build -t quoth --build-arg TORCH=torch .    with torch from the default index (several GB), for the
#                                                        sentence-transformers and transformers backends
#     docker build -t quoth --build-arg TORCH=torch-cpu --build-arg PIP_EXTRA_INDEX_URL=... .
#                                                        with torch's CPU wheel, from an index that has it
# Python 3.11, because that is what the CPU wheel's hash in locks/torch-cpu.txt is for.

FROM python:3.11-slim AS build
ARG TORCH=none
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/quoth
WORKDIR /src
COPY locks/ locks/
RUN /opt/quoth/bin/pip install --no-deps --require-hashes -r locks/base.txt
RUN test "$TORCH" = none || /opt/quoth/bin/pip install --no-deps --require-hashes -r "locks/$TORCH.txt"
RUN test "$TORCH" != torch || /opt/quoth/bin/pip install --no-deps --require-hashes -r locks/cuda.txt
COPY pyproject.toml README.md LICENSE ./
COPY rag/ rag/
COPY ingest/ ingest/
COPY api/ api/
COPY evals/ evals/
COPY cli/ cli/
RUN /opt/quoth/bin/pip install --no-deps --no-build-isolation .

FROM python:3.11-slim
# llama.cpp, which runs `local:` models, needs the OpenMP runtime, and the slim image has none. tesseract reads scans.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 tesseract-ocr && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --create-home --home-dir /home/quoth quoth \
    && install -d -o quoth -g quoth /data /models
COPY --from=build /opt/quoth /opt/quoth
# Listening beyond loopback needs QUOTH_SERVER__API_KEY: without it `quoth serve` says so and ends.
ENV PATH=/opt/quoth/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    QUOTH_DATA_DIR=/data \
    QUOTH_MODELS_DIR=/models \
    QUOTH_SERVER__HOST=0.0.0.0 \
    QUOTH_SERVER__PORT=8000
USER 10001
WORKDIR /home/quoth
VOLUME ["/data", "/models"]
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["quoth"]
CMD ["serve"]
