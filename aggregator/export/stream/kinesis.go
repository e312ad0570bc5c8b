package stream

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// The bounds of PutRecords. A request may have 10 MiB now; 5 MB is what every server
// takes that speaks the protocol. A stream takes records of 1 MiB, partition key and all,
// unless its owner has raised that, to 10 MiB at most.
const (
	kinesisRecords   = 500
	kinesisBytes     = 5_000_000
	kinesisRecord    = 1 << 20
	kinesisMaxRecord = 10 << 20
	kinesisTimeout   = 30 * time.Second
)

// KinesisOptions are those of a Kinesis data stream.
type KinesisOptions struct {
	Stream         string
	Region         string // empty: AWS_REGION
	Endpoint       string // empty: AWS_ENDPOINT_URL_KINESIS, or AWS's own
	MaxRecordBytes int    // 0 is 1 MiB

	// Both empty: from the environment, as AWS's tools read them.
	AccessKeyID, SecretAccessKey string
}

// Kinesis puts records into a data stream, under the agent_id as their partition key: an
// agent's records are in one shard.
//
// PutRecords promises no order, and may refuse any record while it takes later ones. So a
// request has one record of each session at most, and the next one of it only goes once
// that is acknowledged.
type Kinesis struct {
	client    *kinesis.Client
	stream    string
	maxRecord int
}

// kinesisOptions reads kinesis://stream-name?region=…&endpoint=…&max_record_bytes=….
func kinesisOptions(u *url.URL) (KinesisOptions, error) {
	o := KinesisOptions{Stream: u.Host}
	for name, values := range u.Query() {
		value := values[len(values)-1]
		switch name {
		case "region":
			o.Region = value
		case "endpoint":
			o.Endpoint = value
		case "max_record_bytes":
			n, err := strconv.Atoi(value)
			if err != nil || n < kinesisRecord || n > kinesisMaxRecord {
				return o, fmt.Errorf("max_record_bytes must be %d to %d", kinesisRecord, kinesisMaxRecord)
			}
			o.MaxRecordBytes = n
		default:
			return o, fmt.Errorf("kinesis:// has no parameter %q: it has region, endpoint and max_record_bytes", name)
		}
	}
	if u.User != nil || u.Port() != "" || u.Path != "" {
		return o, errors.New("it must be kinesis://stream-name; credentials come from the environment, as AWS's tools read them")
	}
	return o, nil
}

// NewKinesis makes the destination. Nothing is asked of it yet.
func NewKinesis(ctx context.Context, o KinesisOptions) (*Kinesis, error) {
	load := []func(*config.LoadOptions) error{config.WithRegion(o.Region), config.WithRetryMaxAttempts(1)} // the follower tries again
	if o.AccessKeyID != "" {
		load = append(load, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(o.AccessKeyID, o.SecretAccessKey, "")))
	}
	loaded, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("reading AWS's settings: %w", err)
	}
	if loaded.Region == "" {
		return nil, errors.New("it needs a region: write kinesis://stream-name?region=eu-west-1, or set AWS_REGION")
	}
	client := kinesis.NewFromConfig(loaded, func(k *kinesis.Options) {
		if o.Endpoint != "" {
			k.BaseEndpoint = aws.String(o.Endpoint)
		}
	})
	maxRecord := o.MaxRecordBytes
	if maxRecord == 0 {
		maxRecord = kinesisRecord
	}
	return &Kinesis{client: client, stream: o.Stream, maxRecord: maxRecord}, nil
}

// Send puts the records, wave after wave.
func (k *Kinesis) Send(ctx context.Context, records []*Record) error {
	rest := records
	for len(rest) > 0 {
		w := k.wave(rest)
		if len(w.now) == 0 {
			return &PartialError{Rest: rest, TooLarge: w.tooLarge, Err: ErrTooLarge}
		}
		refused, err := k.put(ctx, w.now)
		rest = append(refused, w.later...)
		slices.SortFunc(rest, func(a, b *Record) int { return cmp.Compare(a.Position, b.Position) })
		if err != nil {
			return &PartialError{Rest: rest, Err: err}
		}
	}
	return nil
}

// wave is what may go in one request, and what must wait for it.
type wave struct {
	now, later []*Record
	tooLarge   []*Record // of later
}

func (k *Kinesis) wave(records []*Record) (w wave) {
	waits := make(map[string]bool) // sessions whose next record must wait
	size := 0
	for i, r := range records {
		if r.Alone && i > 0 || len(w.now) == kinesisRecords {
			w.later = append(w.later, records[i:]...)
			return w
		}
		bytes := len(r.Data) + len(partitionKey(r))
		session := r.session()
		switch {
		case session != "" && waits[session]:
			w.later = append(w.later, r)
		case bytes > k.maxRecord:
			w.later = append(w.later, r)
			w.tooLarge = append(w.tooLarge, r)
		case size+bytes > kinesisBytes && len(w.now) > 0:
			w.later = append(w.later, r)
		default:
			w.now = append(w.now, r)
			size += bytes
		}
		waits[session] = true
		if r.Alone {
			w.later = append(w.later, records[i+1:]...)
			return w
		}
	}
	return w
}

// maxPartitionKey is in Unicode characters.
const maxPartitionKey = 256

// partitionKey is the agent_id. Where there is none it is "default", and where it is too
// long for one, its hash.
func partitionKey(r *Record) string {
	switch {
	case r.AgentID == "":
		return "default"
	case utf8.RuneCountInString(r.AgentID) > maxPartitionKey:
		sum := sha256.Sum256([]byte(r.AgentID))
		return hex.EncodeToString(sum[:])
	}
	return r.AgentID
}

// put sends one request, and returns the records that were not acknowledged, with the
// reason.
func (k *Kinesis) put(ctx context.Context, records []*Record) ([]*Record, error) {
	entries := make([]types.PutRecordsRequestEntry, len(records))
	for i, r := range records {
		entries[i] = types.PutRecordsRequestEntry{Data: r.Data, PartitionKey: aws.String(partitionKey(r))}
	}
	ctx, cancel := context.WithTimeout(ctx, kinesisTimeout)
	defer cancel()
	answer, err := k.client.PutRecords(ctx, &kinesis.PutRecordsInput{StreamName: aws.String(k.stream), Records: entries})
	if err != nil {
		return records, err
	}
	if len(answer.Records) != len(records) {
		return records, fmt.Errorf("PutRecords of %d records was answered for %d", len(records), len(answer.Records))
	}
	var refused []*Record
	for i, result := range answer.Records {
		if result.ErrorCode != nil && *result.ErrorCode != "" {
			refused = append(refused, records[i])
			err = fmt.Errorf("%s: %s", *result.ErrorCode, aws.ToString(result.ErrorMessage))
		}
	}
	if len(refused) > 0 {
		err = fmt.Errorf("%d of %d records were refused, the last with %w", len(refused), len(records), err)
	}
	return refused, err
}
