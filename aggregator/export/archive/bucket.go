package archive

import (
	"bytes"
	"context"
	"crypto/md5" // #nosec G501 -- what buckets check a transfer with; the manifest has SHA-256
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/fileblob"  // file://
	_ "gocloud.dev/blob/gcsblob"   // gs://
	_ "gocloud.dev/blob/s3blob"    // s3://
	"gocloud.dev/gcerrors"
)

// Bucket is where an archive lies.
type Bucket struct {
	*blob.Bucket
	Name  string // the URL without its parameters
	Place string // tells it from others: the name, and the prefix

	requestTimeout, objectTimeout time.Duration
}

// OpenBucket opens the bucket of a URL of gocloud.dev/blob, or a directory. A directory
// is made if that is asked for; nobody else may read what is made in it.
func OpenBucket(ctx context.Context, link string, create bool) (*Bucket, error) {
	u, err := bucketURL(link, create)
	if err != nil {
		return nil, err
	}
	name := *u
	name.RawQuery, name.User = "", nil
	bucket, err := blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, fmt.Errorf("the archive %s can't be opened: %w", name.String(), err)
	}
	return &Bucket{
		Bucket: bucket, Name: name.String(), Place: name.String() + "#" + u.Query().Get("prefix"),
		requestTimeout: requestTimeout, objectTimeout: objectTimeout,
	}, nil
}

func bucketURL(link string, create bool) (*url.URL, error) {
	u, err := url.Parse(link)
	if err != nil || u.Scheme == "" {
		if link == "" || strings.Contains(link, "://") {
			return nil, errors.New("the archive's URL can't be read: write s3://bucket?region=…, gs://bucket, azblob://container, or a directory")
		}
		path, err := filepath.Abs(link)
		if err != nil {
			return nil, err
		}
		u = &url.URL{Scheme: "file", Path: filepath.ToSlash(path)}
	}
	if u.Scheme != "file" {
		return u, nil
	}
	query := u.Query()
	defaults := map[string]string{"metadata": "skip", "no_tmp_dir": "true", "dir_file_mode": "0700"}
	if create {
		defaults["create_dir"] = "true"
	}
	for name, value := range defaults {
		if !query.Has(name) {
			query.Set(name, value)
		}
	}
	u.RawQuery = query.Encode()
	return u, nil
}

// How long a bucket may take: one that does not answer at all is asked again.
const (
	requestTimeout = time.Minute     // for a request without content
	objectTimeout  = 5 * time.Minute // for an object, and as long as its bytes take
	slowest        = 128 << 10       // bytes a second
)

func (b *Bucket) timeFor(bytes int64) time.Duration {
	return b.objectTimeout + time.Duration(bytes/slowest)*time.Second
}

// upload is an object that is written piece by piece.
type upload struct {
	object, contentType string
	bytes               int64 // about so many
	buffer              int   // what is kept of it before a part is sent; 0 is 5 MiB
}

// write writes an object, whole or not at all. Where the bucket is a directory, it lies
// on the disk when write returns.
func (b *Bucket) write(ctx context.Context, of upload, content func(io.Writer) error) error {
	object := of.object
	ctx, cancel := context.WithTimeout(ctx, b.timeFor(of.bytes))
	defer cancel() // before Close: then nothing is kept
	options := &blob.WriterOptions{ContentType: of.contentType, BufferSize: of.buffer, MaxConcurrency: 1}
	var file *os.File
	options.BeforeWrite = func(as func(any) bool) error { as(&file); return nil }
	w, err := b.NewWriter(ctx, object, options)
	if err != nil {
		return fmt.Errorf("writing %s: %w", object, err)
	}
	err = content(w)
	if err == nil && file != nil {
		err = file.Sync()
	}
	if err != nil {
		cancel()
		_ = w.Close()
		return fmt.Errorf("writing %s: %w", object, err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", object, err)
	}
	return nil
}

// put writes an object of bytes, which the bucket checks.
func (b *Bucket) put(ctx context.Context, object, contentType string, content []byte) error {
	ctx, cancel := context.WithTimeout(ctx, b.timeFor(int64(len(content))))
	defer cancel()
	sum := md5.Sum(content) // #nosec G401 -- as above
	var file *os.File
	options := &blob.WriterOptions{ContentType: contentType, ContentMD5: sum[:], BufferSize: len(content) + 1}
	options.BeforeWrite = func(as func(any) bool) error { as(&file); return nil }
	w, err := b.NewWriter(ctx, object, options)
	if err != nil {
		return fmt.Errorf("writing %s: %w", object, err)
	}
	_, err = io.Copy(w, bytes.NewReader(content))
	if err == nil && file != nil {
		err = file.Sync()
	}
	if err != nil {
		cancel()
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", object, err)
	}
	return nil
}

// remove deletes objects. One that is not there is as good as deleted.
func (b *Bucket) remove(ctx context.Context, objects ...string) error {
	for _, object := range objects {
		asking, cancel := context.WithTimeout(ctx, b.requestTimeout)
		err := b.Delete(asking, object)
		cancel()
		if err != nil && gcerrors.Code(err) != gcerrors.NotFound {
			return fmt.Errorf("deleting %s: %w", object, err)
		}
	}
	return nil
}

// read reads an object.
func (b *Bucket) read(ctx context.Context, object string) ([]byte, error) {
	var content bytes.Buffer
	err := b.readTo(ctx, object, &content)
	return content.Bytes(), err
}

// errSlow says that a bucket has taken too long.
var errSlow = errors.New("the bucket does not answer, or too slowly")

// readTo reads an object piece by piece.
func (b *Bucket) readTo(ctx context.Context, object string, w io.Writer) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(b.objectTimeout, func() { cancel(errSlow) })
	defer timer.Stop()
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errSlow) {
			err = errSlow
		}
	}()
	reader, err := b.NewReader(ctx, object, nil)
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }()
	timer.Reset(b.timeFor(reader.Size()))
	_, err = io.Copy(w, reader)
	return err
}

// list calls do with the names of a folder and of those in it, in order.
func (b *Bucket) list(ctx context.Context, folder string, do func(object string) error) error {
	return b.listed(ctx, &blob.ListOptions{Prefix: folder}, func(o *blob.ListObject) error { return do(o.Key) })
}

// folders calls do with the names of the folders right in another one.
func (b *Bucket) folders(ctx context.Context, folder string, do func(folder string) error) error {
	return b.listed(ctx, &blob.ListOptions{Prefix: folder, Delimiter: "/"}, func(o *blob.ListObject) error {
		if !o.IsDir {
			return nil
		}
		return do(o.Key)
	})
}

func (b *Bucket) listed(ctx context.Context, options *blob.ListOptions, do func(*blob.ListObject) error) error {
	objects, folder := b.List(options), options.Prefix
	for {
		asking, cancel := context.WithTimeout(ctx, b.requestTimeout)
		object, err := objects.Next(asking)
		cancel()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listing %s of %s: %w", folder, b.Name, err)
		}
		if err := do(object); err != nil {
			return err
		}
	}
}

// newest is the manifest that counts: the one with the greatest number; the zero one if
// there is none.
func (b *Bucket) newest(ctx context.Context) (newest manifestName, err error) {
	err = b.list(ctx, stateFolder, func(object string) error {
		if name, ok := parseManifestName(object); ok && name.number > newest.number {
			newest = name
		}
		return nil
	})
	return newest, err
}
