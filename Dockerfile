# The image of the sidecar: small, without a shell's conveniences to rely on, run by nobody in particular.
#
#   docker build -t sidecar .
#   docker run --rm --read-only --tmpfs /tmp -v state:/var/lib/sidecar -p 127.0.0.1:50051:50051 sidecar
#
# tools/check_image.sh runs the same steps without a container engine.

FROM python:3.11-slim AS build
# auto: what every call goes through is compiled if there is a C compiler; pure: it is not, and no compiler is fetched.
ARG WHEEL=auto
WORKDIR /src
RUN test "$WHEEL" = pure \
 || { apt-get update -q && apt-get install -y -q --no-install-recommends gcc libc6-dev; } \
 || echo "no C compiler could be installed"
COPY requirements requirements
RUN python -m venv /opt/sidecar \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt -r requirements/compile.txt \
 && /opt/sidecar/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY tools/build_wheel.sh tools/compile_hook.py tools/
COPY sidecar sidecar
RUN PYTHON=/opt/build/bin/python tools/build_wheel.sh "$WHEEL" /tmp/wheel \
 && /opt/sidecar/bin/pip install --no-cache-dir --no-deps /tmp/wheel/*.whl \
 && /opt/sidecar/bin/python -m compileall -q /opt/sidecar/lib \
 && /opt/sidecar/bin/sidecar version

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
