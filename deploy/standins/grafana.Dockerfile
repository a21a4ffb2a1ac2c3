# Stands in for grafana/grafana where no registry can be reached: what grafana.py says, with that image's user, port and paths.
FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-minimal python3-yaml busybox \
    && rm -rf /var/lib/apt/lists/* \
    && ln -s /bin/busybox /usr/bin/wget \
    && install --directory --owner=472 --group=0 /var/lib/grafana
COPY grafana.py /usr/local/bin/grafana.py
USER 472
EXPOSE 3000
STOPSIGNAL SIGINT
ENTRYPOINT ["python3", "/usr/local/bin/grafana.py"]
