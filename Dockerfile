# Two images of one service: FLAVOUR `cpu` (the bundled model, or a model behind a server) or `gpu` (a model on CUDA).
#   docker build --build-arg FLAVOUR=gpu -t moderation-service:gpu .
# A release pins its bases by digest: --build-arg DEBIAN_DIGEST=sha256:... CUDA_DIGEST=sha256:... UV_DIGEST=sha256:...
ARG FLAVOUR=cpu
ARG DEBIAN_TAG=13-slim
ARG DEBIAN_DIGEST=
# The CUDA runtime of the major version that the locked torch was built for. Its wheels bring cuBLAS, cuDNN and the rest.
ARG CUDA_TAG=13.0.2-base-ubuntu24.04
ARG CUDA_DIGEST=
ARG UV_TAG=0.13.9
ARG UV_DIGEST=

FROM astral/uv:${UV_TAG}${UV_DIGEST:+@${UV_DIGEST}} AS uv

FROM debian:${DEBIAN_TAG}${DEBIAN_DIGEST:+@${DEBIAN_DIGEST}} AS build
# Debian keeps one version of a package: a pinned one would be gone with its next fix.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_INSTALL_DIR=/opt/python \
    VIRTUAL_ENV=/opt/moderation
# A Python of its own that wants glibc alone: the two bases have another one, or none.
RUN uv venv --python-preference only-managed --python 3.13 "$VIRTUAL_ENV"
WORKDIR /src
COPY . .
RUN uv build --wheel --build-constraints requirements.lock --out-dir /wheels

# What the service needs and no more, in the versions of the lock and held to its digests.
FROM build AS build-gpu
RUN uv pip install --constraints requirements.lock "$(echo /wheels/*.whl)[local,train,s3,msk,evaluation,ocr,otel]"

FROM build AS build-cpu
# PyPI's torch is the CUDA build, gigabytes of it. PyTorch's own index has the same versions for CPUs, with other
# digests than the lock's: these two packages are held to their version alone.
RUN awk '/^[a-z]/ {torch = /^(torch|torchvision)==/; if (torch) print $1} !torch' requirements.lock > cpu.lock \
 && uv pip install --torch-backend cpu --constraints cpu.lock "$(echo /wheels/*.whl)[local,train,s3,msk,evaluation,ocr,otel]"

FROM debian:${DEBIAN_TAG}${DEBIAN_DIGEST:+@${DEBIAN_DIGEST}} AS base-cpu
FROM nvidia/cuda:${CUDA_TAG}${CUDA_DIGEST:+@${CUDA_DIGEST}} AS base-gpu
# Triton compiles the engine's kernels when it starts.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*

# Stages of this file, which have no tag.
# hadolint ignore=DL3006
FROM build-${FLAVOUR} AS built

# hadolint ignore=DL3006
FROM base-${FLAVOUR}
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="moderation-service" \
      org.opencontainers.image.description="Judges posts from Kafka against written policies and proves every verdict" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=built /opt/python /opt/python
COPY --from=built /opt/moderation /opt/moderation
# The root file system may be read-only: what libraries cache goes to /tmp, and nothing has to stay there.
ENV PATH=/opt/moderation/bin:$PATH SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    HOME=/tmp USER=moderation XDG_CACHE_HOME=/tmp/cache HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 \
    PYTORCH_ALLOC_CONF=expandable_segments:True
WORKDIR /tmp
USER 10001:10001
EXPOSE 9464 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5m --start-interval=2s \
    CMD ["python", "-c", "from os import environ as e; from urllib.request import urlopen as get; get('http://127.0.0.1:' + e.get('MODERATION_OPS__PORT', '9464') + '/readyz', timeout=2)"]
ENTRYPOINT ["moderation"]
CMD ["run"]
