# The service, the index builder and training in one image; CPU by default. docs/deploy.md explains
# the arguments. A base with Python 3.11 or newer:
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# For another build of torch than the package index gives by default (docs/deploy.md).
ARG TORCH_INDEX_URL=""
# "gpu,train,service,parquet" takes FAISS for CUDA instead.
ARG EXTRAS="cpu,train,service,parquet"
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/hrem/bin:$PATH
RUN python3 -m venv /opt/hrem
WORKDIR /src
COPY constraints.txt ./
# torch first: asked for by a dependency, pip would take whichever build it likes.
RUN pip install -c constraints.txt ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch
# Dependencies in a layer of their own, on empty packages, so that a change of code keeps it.
COPY pyproject.toml README.md LICENSE ./
RUN mkdir model index_builder service \
    && touch model/__init__.py index_builder/__init__.py service/__init__.py \
    && pip install -c constraints.txt ".[${EXTRAS}]" \
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
COPY deploy /app/deploy
WORKDIR /app
ENV PATH=/opt/hrem/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    HREM_HOST=0.0.0.0 \
    HREM_PORT=8000
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 \
    CMD ["python3", "-m", "deploy.healthcheck"]
ENTRYPOINT ["python3", "-m", "service"]
CMD ["--index", "/index"]
