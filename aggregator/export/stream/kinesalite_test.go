//go:build kinesis

package stream_test

import (
	"bufio"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"rapport/aggregator/export/stream"
	"rapport/store/storetest"
)

// kinesalite is a server of somebody else's that speaks the protocol of Kinesis: see make
// test-kinesis.
type kinesalite struct {
	t       *testing.T
	dir     string
	address string
	cmd     *exec.Cmd
	client  *kinesis.Client
}

func newKinesalite(t *testing.T) *kinesalite {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &kinesalite{t: t, dir: t.TempDir(), address: listener.Addr().String()}
	_ = listener.Close()
	k.client = kinesis.New(kinesis.Options{
		Region: "eu-west-1", BaseEndpoint: aws.String("http://" + k.address), HTTPClient: http.DefaultClient,
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
	})
	k.start()
	t.Cleanup(k.kill)
	return k
}

func (k *kinesalite) start() {
	k.t.Helper()
	installed, err := filepath.Abs("../../../bin/tools/kinesalite")
	if err != nil {
		k.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(k.address)
	k.cmd = exec.Command("node", filepath.Join(installed, "serve.js"), k.dir, port)
	k.cmd.Stderr = os.Stderr
	out, err := k.cmd.StdoutPipe()
	if err != nil {
		k.t.Fatal(err)
	}
	if err := k.cmd.Start(); err != nil {
		k.t.Fatalf("make test-kinesis installs it: %v", err)
	}
	if !bufio.NewScanner(out).Scan() {
		k.t.Fatal("it does not start: see above; make test-kinesis installs it")
	}
}

func (k *kinesalite) kill() {
	_ = k.cmd.Process.Kill()
	_ = k.cmd.Wait()
}

// create makes a data stream.
func (k *kinesalite) create(name string, shards int32) {
	k.t.Helper()
	_, err := k.client.CreateStream(k.t.Context(), &kinesis.CreateStreamInput{StreamName: &name, ShardCount: &shards})
	if err == nil {
		err = kinesis.NewStreamExistsWaiter(k.client).Wait(k.t.Context(), &kinesis.DescribeStreamInput{StreamName: &name}, time.Minute)
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// read adds all records of all shards to an inbox.
func (k *kinesalite) read(name string, in *inbox) {
	k.t.Helper()
	shards, err := k.client.ListShards(k.t.Context(), &kinesis.ListShardsInput{StreamName: &name})
	if err != nil {
		k.t.Fatal(err)
	}
	for _, shard := range shards.Shards {
		at, err := k.client.GetShardIterator(k.t.Context(), &kinesis.GetShardIteratorInput{
			StreamName: &name, ShardId: shard.ShardId, ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
		})
		if err != nil {
			k.t.Fatal(err)
		}
		for next := at.ShardIterator; next != nil; {
			page, err := k.client.GetRecords(k.t.Context(), &kinesis.GetRecordsInput{ShardIterator: next})
			if err != nil {
				k.t.Fatal(err)
			}
			for _, r := range page.Records {
				if err := in.add(r.Data); err != nil {
					k.t.Error(err)
				}
			}
			if next = page.NextShardIterator; len(page.Records) == 0 {
				break
			}
		}
	}
}

func TestAKinesisServerIsKilledInTheMiddleAndComesBack(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	k := newKinesalite(t)
	k.create("avatar-events", 4)
	sink, err := stream.NewKinesis(t.Context(), stream.KinesisOptions{
		Stream: "avatar-events", Region: "eu-west-1", Endpoint: "http://" + k.address, AccessKeyID: "id", SecretAccessKey: "secret",
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, talk("first", 3000)...)
	stop := follow(t, db, "lake=kinesis://avatar-events#from=beginning", sink)
	in := newInbox()
	for all, _ := in.all(); len(all) == 0; all, _ = in.all() { // some have arrived, and others not
		k.read("avatar-events", in)
	}
	k.kill()
	if all, _ := in.all(); len(all) >= 3000 {
		t.Fatal("it was too fast to be killed in the middle")
	}
	put(t, db, talk("second", 300)...)
	k.start()
	put(t, db, talk("third", 200)...)
	waitForHead(t, db)
	stop()
	in = newInbox()
	k.read("avatar-events", in)
	all, _ := in.all()
	wantInOrder(t, firsts(all), 1, 3500)
	t.Logf("%d records for 3500 events", len(all))
}
