# The command line in an image without root rights, from locked packages, with the clients of object
# storage and Ray:
#   docker build -t deeplab-gygo:cpu .
#   docker build -t deeplab-gygo:cuda --build-arg VARIANT=cuda .
#   docker run --rm --network none -v "$PWD:/work" deeplab-gygo:cpu segment clip.mp4 --mask mask.png --out result
# The root file system may be read-only: what is written goes to /cache, /scratch and /tmp, and to
# where the results are. See docs/cluster.md.
ARG VARIANT=cpu

FROM python:3.12-slim AS cpu
COPY requirements.lock /build/
RUN pip install --no-cache-dir --require-hashes -r /build/requirements.lock

FROM python:3.12-slim AS cuda
COPY requirements-cuda.lock /build/
RUN pip install --no-cache-dir --require-hashes -r /build/requirements-cuda.lock
ENV KERAS_BACKEND=jax

# hadolint ignore=DL3006
FROM ${VARIANT}
COPY setup.py pyproject.toml README.md LICENSE /build/
COPY deeplab_gygo /build/deeplab_gygo
# Any user may write to these folders: a container may run as the owner of the results.
RUN pip install --no-cache-dir --no-deps /build && rm -r /build \
    && useradd --uid 10001 --no-create-home user \
    && install --directory --mode 1777 /cache /scratch
ENV DEEPLAB_GYGO_CACHE=/cache DEEPLAB_GYGO_SCRATCH=/scratch HOME=/tmp PYTHONDONTWRITEBYTECODE=1
VOLUME ["/cache", "/scratch", "/tmp"]
EXPOSE 8000
USER 10001
WORKDIR /work
ENTRYPOINT ["deeplab-gygo"]
