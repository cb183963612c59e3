# syntax=docker/dockerfile:1
FROM rust:1.95-bookworm AS build
# The build of librdkafka, OpenSSL and aws-lc needs cmake; the compiler, make and perl are in the image of Rust.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
# `nova --version` prints the commit, which you set by --build-arg COMMIT=$(git rev-parse --short HEAD).
ARG COMMIT=""
ENV NOVA_COMMIT=$COMMIT

# Dependencies have a layer of their own, which is built from the manifests over empty sources. So Docker builds the
# dependencies again only when the manifests change.
COPY Cargo.toml Cargo.lock ./
COPY storage/Cargo.toml storage/
RUN mkdir -p src storage/src benches \
    && echo 'fn main() {}' > src/main.rs && cp src/main.rs src/build.rs && touch src/lib.rs storage/src/lib.rs \
    && sed -n -e '/^\[\[bench\]\]/,/^name/s/^name = "\(.*\)"/\1/p' \
          -e '/^\[\[example\]\]/,/^name/s/^name = "\(.*\)"/\1/p' Cargo.toml \
       | while read -r bench; do echo 'fn main() {}' > "benches/$bench.rs"; done \
    && cargo build --release --locked

COPY . .
# Cargo compares times, and the copied sources are older than the programs that were just built, so touch the sources.
RUN touch src/build.rs src/main.rs src/lib.rs storage/src/lib.rs \
    && cargo build --release --locked --bin nova \
    && strip --strip-debug target/release/nova \
    && mkdir /data

# The binary needs only glibc and libgcc, which this image has, so nothing is installed.
FROM debian:bookworm-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/target/release/nova /usr/local/bin/nova
# A named volume takes over the owner of /data. The owner is a number, so that Kubernetes can check that it is not root.
COPY --from=build --chown=10001:10001 /data /data
USER 10001:10001
# nova listens on all addresses of the container, and the host decides which ports it publishes.
ENV NOVA_STORE_DATA_DIR=/data \
    NOVA_HTTP_LISTEN=0.0.0.0:8080
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
# `nova health` needs neither a shell nor curl. It finds the node by the file listening.json beside the store, whatever
# port and certificate the node has.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["nova", "health"]
ENTRYPOINT ["nova"]
CMD ["serve"]
