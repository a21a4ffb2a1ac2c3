# Stands in for prom/prometheus where no registry can be reached: Debian's package, laid out as that image is.
FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends prometheus busybox \
    && rm -rf /var/lib/apt/lists/* \
    && ln -s /bin/busybox /usr/bin/wget \
    && install --directory --owner=nobody --group=nogroup /prometheus
USER 65534
WORKDIR /prometheus
EXPOSE 9090
ENTRYPOINT ["prometheus"]
