FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/sallyport ./cmd/sallyport \
 && install -d -m 0700 -o 65532 -g 65532 /out/var/lib/sallyport \
 && install -d -m 0755 /out/etc/ssl/certs \
 && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/

# Nothing but the binary, the public roots and the state folder.
FROM scratch
COPY --from=build --chown=65532:65532 /out/var/lib/sallyport /var/lib/sallyport
COPY --from=build /out/etc /etc
COPY --from=build /out/sallyport /sallyport
ENV SALLYPORT_STATE_DIR=/var/lib/sallyport
USER 65532:65532
VOLUME /var/lib/sallyport
EXPOSE 3128 3129
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/sallyport", "healthcheck"]
ENTRYPOINT ["/sallyport"]
CMD ["serve"]
