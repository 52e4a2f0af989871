# One image for every role. Build: docker build -t sluice .
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -qy --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The registry and the target folder stay between builds; the binary is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package sluice && cp target/release/sluice /sluice && mkdir /data

# The C library, certificates and a user without rights; no shell.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /sluice /usr/local/bin/sluice
# A volume mounted here belongs to the user that the server runs as.
COPY --from=build --chown=nonroot:nonroot /data /var/lib/sluice
ENV SLUICE_LISTEN=0.0.0.0:8080 SLUICE_DATA=/var/lib/sluice SLUICE_LOG__FORMAT=json
VOLUME /var/lib/sluice
EXPOSE 8080 9090
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s CMD ["sluice", "health"]
ENTRYPOINT ["sluice"]
CMD ["serve"]
