# The command line in an image without root rights, from locked packages:
#   docker build -t deeplab-gygo .
#   docker run --rm --network none -v "$PWD:/work" deeplab-gygo segment clip.mp4 --mask mask.png --out result
FROM python:3.12-slim

COPY requirements.lock /build/
RUN pip install --no-cache-dir --require-hashes -r /build/requirements.lock
COPY setup.py pyproject.toml README.md LICENSE /build/
COPY deeplab_gygo /build/deeplab_gygo
RUN pip install --no-cache-dir --no-deps /build && rm -r /build

RUN useradd --create-home user
USER user
WORKDIR /work
ENTRYPOINT ["deeplab-gygo"]
