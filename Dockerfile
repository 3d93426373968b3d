# The image of the sidecar: small, without a shell's conveniences to rely on, run by nobody in particular.
#
#   docker build -t sidecar .
#   docker run --rm --read-only --tmpfs /tmp -v state:/var/lib/sidecar -p 127.0.0.1:50051:50051 sidecar
#
# tools/check_image.sh runs the same steps without a container engine.

FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements requirements
RUN python -m venv /opt/sidecar \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
 && /opt/sidecar/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY sidecar sidecar
RUN /opt/build/bin/python -m hatchling build -t wheel -d /tmp/wheel \
 && /opt/sidecar/bin/pip install --no-cache-dir --no-deps /tmp/wheel/*.whl \
 && /opt/sidecar/bin/python -m compileall -q /opt/sidecar/lib

FROM python:3.11-slim
RUN groupadd --system --gid 10001 sidecar \
 && useradd --system --uid 10001 --gid sidecar --home-dir /var/lib/sidecar --shell /usr/sbin/nologin sidecar \
 && install -d -o sidecar -g sidecar -m 0700 /var/lib/sidecar
COPY --from=build /opt/sidecar /opt/sidecar
ENV PATH=/opt/sidecar/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    SIDECAR_STATE_DIR=/var/lib/sidecar
USER 10001:10001
VOLUME /var/lib/sidecar
# In a pod the application shares the network, so loopback is enough; the default listens nowhere else.
EXPOSE 50051
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["sidecar", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["sidecar"]
CMD ["serve"]
