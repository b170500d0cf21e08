# Training in a container, on NVIDIA GPUs or on the CPU:
#
#   docker build -t emotion .
#   docker run --rm --gpus all --shm-size 2g --user "$(id -u):$(id -g)" -v ~/fer2013:/data:ro -v "$PWD":/runs \
#     -v emotion-cache:/cache emotion data=fer2013 data.root=/data model=resnet18
#
# Without --gpus the same image trains on the CPU: the pinned wheels of torch bring CUDA along but don't need it.
# GPUs need the NVIDIA Container Toolkit on the host. An image without CUDA, several GB smaller:
#
#   docker build -t emotion:cpu --build-arg TORCH_INDEX=ADDRESS .
#
# where ADDRESS is the package index for CPU that PyTorch's "Get Started" page gives.
FROM python:3.11-slim-bookworm

ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1

WORKDIR /app
COPY constraints.txt ./
# From another index, torch and torchvision come in the pinned versions but with hashes of their own, so those two are
# taken without; they have to come from one place, because a torchvision built for another torch doesn't load.
RUN if [ -z "$TORCH_INDEX" ]; then \
        python -m pip install --require-hashes -r constraints.txt; \
    else \
        awk '/^[^ #]/ {kept = !/^(torch|torchvision|triton|nvidia-[^=]*|cuda-[^=]*)==/} kept' constraints.txt \
            > /tmp/rest.txt \
        && awk '/^(torch|torchvision)==/ {print $1}' constraints.txt > /tmp/torch.txt \
        && python -m pip install --no-deps --require-hashes -r /tmp/rest.txt \
        && python -m pip install --no-deps --index-url "$TORCH_INDEX" -r /tmp/torch.txt; \
    fi

COPY pyproject.toml README.md LICENSE train.py ./
COPY conf conf
COPY emotion emotion
COPY experiments experiments
RUN python -m pip install --no-deps --no-build-isolation -e .

# Any user may write to the volumes, so that `docker run --user "$(id -u)"` leaves files that belong to you.
RUN useradd --uid 1000 --create-home emotion \
    && mkdir /data /runs /cache \
    && chmod 1777 /runs /cache
ENV EMOTION_CACHE=/cache \
    HF_HOME=/cache/huggingface \
    TORCH_HOME=/cache/torch \
    MPLCONFIGDIR=/cache/matplotlib
VOLUME ["/data", "/runs", "/cache"]
USER 1000

# machine.runs_dir is runs in the working folder, and sweeps lie beside it: both end up in the volume.
WORKDIR /runs
ENTRYPOINT ["python", "/app/train.py"]
