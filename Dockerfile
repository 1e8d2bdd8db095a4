# syntax=docker/dockerfile:1
# The image holds one static program and the certificates to trust, nothing else.
#   docker build -t REPOSITORY:TAG .                          builds the program, too
#   docker build --target prebuilt -t REPOSITORY:TAG FOLDER -f Dockerfile
#                                                             FOLDER holds zerotouch-worker (static)
#                                                             and ca-certificates.crt
ARG RUST_VERSION=1.95

# What all images have in common. First, so that `prebuilt` needs no other image.
FROM scratch AS base
ARG VERSION=0.1.0
ARG REVISION=""
ARG CREATED=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="zerotouch-worker" \
      org.opencontainers.image.description="Kafka worker for Android zero-touch enrollment" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
# The C library's allocator otherwise gives threads memory of their own that they do not give back:
# half as much again under load, and more on machines with many cores.
ENV PATH=/usr/local/bin MALLOC_ARENA_MAX=2
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/zerotouch-worker"]
CMD ["run", "--config", "/etc/zerotouch-worker/worker.toml"]

FROM base AS prebuilt
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --chmod=0555 zerotouch-worker /usr/local/bin/zerotouch-worker

# Has the C and C++ compilers, make, perl and the certificates.
FROM rust:${RUST_VERSION}-bookworm AS build
WORKDIR /src
COPY . .
# The target is named, so that the flags are not for build scripts and macros. Packed relocations
# save 1.2 MB, and what of the C libraries is not used, or unwinds it, another 1.2 MB. The cache
# stays behind, so the program has to leave it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    target="$(rustc -vV | sed -n 's/^host: //p')" && \
    RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" \
    CFLAGS="-O2 -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-unwind-tables" \
      CARGO_PROFILE_RELEASE_STRIP=symbols cargo build --locked --release --bin zerotouch-worker \
      --target "$target" && \
    cp "target/$target/release/zerotouch-worker" /zerotouch-worker

FROM base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chmod=0555 /zerotouch-worker /usr/local/bin/zerotouch-worker
