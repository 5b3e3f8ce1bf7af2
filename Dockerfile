# The service, the index builder and training in one image; CPU by default, without CUDA libraries.
# docs/deploy.md explains the arguments. A base with Python 3.11 or newer:
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# cpu or gpu: which FAISS, and which build of torch.
ARG ACCELERATOR=cpu
ARG EXTRAS="train,service,parquet"
# Where torch comes from; empty: PyTorch's CPU wheels for cpu, the package index (CUDA) for gpu.
ARG TORCH_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/hrem/bin:$PATH
RUN python3 -m venv /opt/hrem
WORKDIR /src
COPY constraints.txt ./
# torch first and alone: asked for by a dependency, pip would take whichever build it likes, and an
# index of torch has the other packages in other versions than ours.
RUN case "$ACCELERATOR" in \
        cpu) url="${TORCH_INDEX_URL:-https://download.pytorch.org/whl/cpu}" ;; \
        gpu) url="$TORCH_INDEX_URL" ;; \
        *) echo "ACCELERATOR is '$ACCELERATOR'; it can be cpu or gpu" >&2; exit 2 ;; \
    esac \
    && pip install -c constraints.txt --no-deps ${url:+--index-url "$url"} torch
# Dependencies in a layer of their own, on empty packages, so that a change of code keeps it.
COPY pyproject.toml README.md LICENSE ./
RUN mkdir model index_builder service \
    && touch model/__init__.py index_builder/__init__.py service/__init__.py \
    && pip install -c constraints.txt ".[${ACCELERATOR},${EXTRAS}]" \
    && rm -r model index_builder service build
COPY model model
COPY index_builder index_builder
COPY service service
RUN pip install --no-deps --force-reinstall .

FROM ${BASE} AS run
RUN groupadd --gid 10001 hrem \
    && useradd --uid 10001 --gid hrem --no-create-home --shell /usr/sbin/nologin hrem \
    && mkdir -p /demo /index \
    && chown hrem:hrem /demo /index
COPY --from=build /opt/hrem /opt/hrem
COPY deploy/*.py /app/deploy/
WORKDIR /app
ENV PATH=/opt/hrem/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_OFFLINE=1 \
    HREM_HOST=0.0.0.0 \
    HREM_PORT=8000
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 \
    CMD ["python3", "-m", "deploy.healthcheck"]
ENTRYPOINT ["python3", "-m", "service"]
CMD ["--index", "/index"]
