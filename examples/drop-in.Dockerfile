# tinysup in place of tini, in an image whose scripts call tini by its name.
#
#     docker build -t localhost/drop-in -f examples/drop-in.Dockerfile --build-arg BASE=debian:bookworm-slim .
#     docker run --rm localhost/drop-in                           # as tini: the command's code, its signals, silence
#     docker run --rm -e TINYSUP_GRACE=5s localhost/drop-in       # the others get five seconds after the command's end
#
# Without an image: dockerd --init-path /usr/local/bin/docker-init, a copy of the static binary, and docker run --init.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
COPY --from=localhost/tinysup /sbin/tinysup /sbin/tinysup
RUN ln -sf /sbin/tinysup /usr/bin/tini
ENTRYPOINT ["/usr/bin/tini", "-g", "--"]
CMD ["sh", "-c", "trap 'echo good-bye; exit 0' TERM; echo ready; sleep infinity & wait"]
