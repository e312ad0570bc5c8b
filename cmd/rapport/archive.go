package main

import (
	"context"
	"log/slog"

	"rapport/aggregator"
	"rapport/aggregator/export/archive"
	"rapport/store"
)

// archiveFlags tell where the log is archived.
type archiveFlags struct {
	Archive string `placeholder:"URL" help:"Keep a copy of the log there, of which rapport restore makes the database again, and a JSON object of each closed session: a directory, s3://bucket?region=…, gs://bucket or azblob://container, with the credentials that its tools have. Default: none."`
}

// archiver is the follower that archives; nil if nothing is archived.
func (f *archiveFlags) archiver(db *store.DB, watch *store.Watch, up *bringUp, logger *slog.Logger) (service, error) {
	if f.Archive == "" {
		return nil, nil
	}
	bucket, err := archive.OpenBucket(context.Background(), f.Archive, true)
	if err != nil {
		return nil, err
	}
	logger.Info("the log is archived", "archive", bucket.Name)
	follower := archive.New(archive.Options{DB: db, Watch: watch, Bucket: bucket, Decode: decodeAgain, Logger: logger})
	return up.then(func(ctx context.Context, _ *aggregator.Sessions) error { return follower.Run(ctx) }), nil
}
