# gan_lab on a CPU, or with --build-arg TORCH=cuda on NVIDIA GPUs:
#     docker build -t gan_lab .
#     docker run --rm -v "$PWD/runs:/work/runs" -v "$PWD/data:/work/data" gan_lab train name=mine
#     docker build -t gan_lab:cuda --build-arg TORCH=cuda .
#     docker run --rm --gpus all -v "$PWD/runs:/work/runs" -v "$PWD/data:/work/data" gan_lab:cuda train name=mine
# It has never been built: its authors had no Docker.
FROM python:3.12-slim
ARG TORCH=cpu

# gcc is for torch.compile and for TensorBoard's dependencies without wheels. Versions are left open, as in pyproject.toml.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ git \
    && rm -rf /var/lib/apt/lists/*

# The package index has torch with CUDA; PyTorch's own index has the CPU build, a tenth of the size.
# hadolint ignore=DL3013
RUN if [ "$TORCH" = cpu ]; then \
        pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu; \
    else \
        pip install --no-cache-dir torch torchvision; \
    fi

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY gan_lab gan_lab
COPY conf conf
RUN pip install --no-cache-dir . && useradd --create-home --uid 1000 gan_lab && mkdir /work && chown gan_lab /work

USER 1000
WORKDIR /work
ENTRYPOINT ["gan-lab"]
CMD ["--help"]
