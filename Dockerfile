# syntax=docker/dockerfile:1
FROM rust:1.95-bookworm AS build
# cmake for librdkafka and aws-lc; the compiler, make and perl are in the image.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
# TLS and SCRAM for Kafka.
ARG FEATURES="kafka-tls"
# The commit, for --version: --build-arg COMMIT=$(git rev-parse --short HEAD)
ARG COMMIT=""
ENV NOVA_COMMIT=$COMMIT

# Dependencies in a layer of their own: built from the manifests over empty sources, again only when those change.
COPY Cargo.toml Cargo.lock ./
COPY storage/Cargo.toml storage/
RUN mkdir -p src storage/src benches \
    && echo 'fn main() {}' > src/main.rs && cp src/main.rs src/build.rs && touch src/lib.rs storage/src/lib.rs \
    && sed -n -e '/^\[\[bench\]\]/,/^name/s/^name = "\(.*\)"/\1/p' \
          -e '/^\[\[example\]\]/,/^name/s/^name = "\(.*\)"/\1/p' Cargo.toml \
       | while read -r bench; do echo 'fn main() {}' > "benches/$bench.rs"; done \
    && cargo build --release --locked --features "$FEATURES"

COPY . .
# Cargo goes by time, and the copied sources are older than what was just built.
RUN touch src/build.rs src/main.rs src/lib.rs storage/src/lib.rs \
    && cargo build --release --locked --features "$FEATURES" --bin nova \
    && strip --strip-debug target/release/nova \
    && mkdir /data

# The binary wants glibc and libgcc; nothing is installed here.
FROM debian:bookworm-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/target/release/nova /usr/local/bin/nova
# A named volume takes over the owner; it is a number, so that Kubernetes can check that it is not root.
COPY --from=build --chown=10001:10001 /data /data
USER 10001:10001
# The container is the border: it listens on all of the container's addresses, the host publishes what it wants.
ENV NOVA_STORE_DATA_DIR=/data \
    NOVA_HTTP_LISTEN=0.0.0.0:8080
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
# Asks the binary itself: no shell, no curl. It finds the node by the note beside the store, whatever its port and its
# certificate are.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["nova", "health"]
ENTRYPOINT ["nova"]
CMD ["serve"]
