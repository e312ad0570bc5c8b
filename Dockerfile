# Rapport as a container: the binary alone, for a Postgres that runs elsewhere
# (RAPPORT_DATABASE_URL). See docker-compose.yml.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=container
RUN CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w -X main.release=${VERSION}" -o /rapport ./cmd/rapport && mkdir /data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /rapport /rapport
# For the spool: it has to outlive the container (or set RAPPORT_NO_SPOOL=true).
COPY --from=build --chown=nonroot:nonroot /data /data
VOLUME /data
ENV RAPPORT_LISTEN=0.0.0.0:8080 RAPPORT_DATA_DIR=/data
EXPOSE 8080
USER nonroot:nonroot
ENTRYPOINT ["/rapport"]
CMD ["serve"]
