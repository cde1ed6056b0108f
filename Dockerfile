# One image for every service: `turnstream worker`, `turnstream api`, `turnstream ingest`.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/turnstream
WORKDIR /src
# The packages first: they change seldom, and their layer is then kept.
COPY requirements.lock ./
RUN /opt/turnstream/bin/pip install --quiet --require-hashes -r requirements.lock
COPY . ./
RUN /opt/turnstream/bin/pip install --quiet --no-build-isolation --no-deps .

FROM python:3.13-slim
# The folders belong to the user before volumes are mounted there: a new volume takes that over.
# Redis, which has a user of its own, reads one of them as a member of our group.
RUN groupadd --gid 10001 turnstream \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin turnstream \
    && install --directory --owner turnstream --group turnstream --mode 0700 \
        /data /secrets/worker /secrets/api /secrets/ingest \
    && install --directory --owner turnstream --group turnstream --mode 0750 /secrets/redis
COPY --from=build /opt/turnstream /opt/turnstream
COPY deploy/ready /usr/local/bin/ready
ENV PATH=/opt/turnstream/bin:$PATH PYTHONUNBUFFERED=1 TURNSTREAM_WORKSPACE=/data
USER 10001:10001
ENTRYPOINT ["turnstream"]
CMD ["--help"]
