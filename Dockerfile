# docker build -t order-engine .
# docker run --rm -p 127.0.0.1:3000:3000 -v order-engine:/var/lib/order-engine --stop-timeout 30 order-engine
#
# Clients must log in. The secret that signs their tokens is a file on the volume, created at the first start.
# HTTP is served without TLS: publish the port as above, and put a proxy in front of it that terminates TLS
# (examples/proxies).

# Only the manifests, each with an empty crate: this stage changes only when the dependencies change.
FROM rust:1.95-slim-bookworm AS manifests
WORKDIR /build
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock -delete \
    && find . -name Cargo.toml -execdir mkdir -p src ';' -execdir touch src/lib.rs ';' \
    && echo 'fn main() {}' > src/main.rs

# The dependencies, cached until a manifest changes; then the code.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY --from=manifests /build .
RUN cargo build --profile dist --locked --bin order-engine
COPY . .
# Cargo compares times, and the copied files may be older than the empty crates.
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
    && cargo build --profile dist --locked --bin order-engine

FROM debian:bookworm-slim
RUN groupadd --gid 10001 order-engine \
    && useradd --uid 10001 --gid order-engine --no-create-home --shell /usr/sbin/nologin order-engine \
    && install -d -o order-engine -g order-engine /var/lib/order-engine
# The authorities that may sign the certificates of PostgreSQL and Redis.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/dist/order-engine /usr/local/bin/order-engine
COPY config /etc/order-engine
ENV ORDER_ENGINE_CONFIG_DIR=/etc/order-engine \
    ORDER_ENGINE__SERVER__HOST=0.0.0.0 \
    ORDER_ENGINE__AUTH__REQUIRED=true \
    ORDER_ENGINE__AUTH__SECRET_FILE=/var/lib/order-engine/order-engine.secret
USER order-engine
# By default the database, the simulated chain's ledger and the secret are files in the working folder.
WORKDIR /var/lib/order-engine
VOLUME /var/lib/order-engine
EXPOSE 3000
# Requests /live with bash alone, so that the image needs no curl.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["bash", "-c", "exec 3<>\"/dev/tcp/127.0.0.1/${ORDER_ENGINE__SERVER__PORT:-${PORT:-3000}}\" && printf 'GET /live HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
# SIGTERM stops the engine with status 0; the next start resumes unfinished orders.
ENTRYPOINT ["order-engine"]
