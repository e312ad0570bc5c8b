package stream_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"rapport"
	"rapport/aggregator/export/stream"
	"rapport/store"
	"rapport/store/storetest"
)

// fakeKinesis speaks PutRecords as AWS documents it, with its bounds, and as badly as it
// may: records are stored in any order, and any of them may be refused.
type fakeKinesis struct {
	*inbox
	t *testing.T

	mu       sync.Mutex
	rand     *rand.Rand     // guarded by mu
	refuses  float64        // the share of records; guarded by mu
	requests int            // guarded by mu
	keys     map[string]int // partition keys of what was stored; guarded by mu
}

type putRecords struct {
	StreamName string
	Records    []struct {
		Data         []byte
		PartitionKey string
	}
}

func (k *fakeKinesis) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var put putRecords
	if r.Header.Get("X-Amz-Target") != "Kinesis_20131202.PutRecords" || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=") {
		k.fail(w, "UnknownOperationException", "not signed, or not PutRecords")
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&put); err != nil {
		k.fail(w, "SerializationException", err.Error())
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.requests++
	if problem := put.problem(); problem != "" {
		k.t.Error(problem)
		k.fail(w, "InvalidArgumentException", problem)
		return
	}
	type result struct{ SequenceNumber, ShardId, ErrorCode, ErrorMessage *string }
	results, failed := make([]result, len(put.Records)), 0
	for _, i := range k.rand.Perm(len(put.Records)) {
		if k.rand.Float64() < k.refuses {
			results[i] = result{ErrorCode: new("ProvisionedThroughputExceededException"), ErrorMessage: new("Rate exceeded for shard")}
			failed++
			continue
		}
		record := put.Records[i]
		if err := k.add(record.Data); err != nil {
			k.t.Error(err)
		}
		k.keys[record.PartitionKey]++
		results[i] = result{SequenceNumber: new("1"), ShardId: new("shardId-000000000000")}
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(map[string]any{"FailedRecordCount": failed, "Records": results})
}

func (p *putRecords) problem() string {
	size := 0
	for _, r := range p.Records {
		one := len(r.Data) + len(r.PartitionKey)
		size += one
		if one > 1<<20 || r.PartitionKey == "" || utf8.RuneCountInString(r.PartitionKey) > 256 {
			return fmt.Sprintf("a record of %d bytes, key %q", one, r.PartitionKey)
		}
	}
	if len(p.Records) == 0 || len(p.Records) > 500 || size > 5<<20 || p.StreamName != "avatar-events" {
		return fmt.Sprintf("%d records, %d bytes, for %s", len(p.Records), size, p.StreamName)
	}
	return ""
}

func (k *fakeKinesis) fail(w http.ResponseWriter, kind, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": kind, "message": message})
}

// set changes the share of records that are refused.
func (k *fakeKinesis) set(refuses float64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refuses = refuses
}

func newKinesis(t *testing.T) (*fakeKinesis, *peer, stream.Sink) {
	t.Helper()
	k := &fakeKinesis{inbox: newInbox(), t: t, rand: rand.New(rand.NewPCG(1, 2)), keys: make(map[string]int)}
	p := newPeer(t, k)
	sink, err := stream.NewKinesis(t.Context(), stream.KinesisOptions{
		Stream: "avatar-events", Region: "eu-west-1", Endpoint: p.url(), AccessKeyID: "id", SecretAccessKey: "secret",
	})
	if err != nil {
		t.Fatal(err)
	}
	return k, p, sink
}

func TestEverythingReachesKinesisInTheOrderOfEachSession(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	k, p, sink := newKinesis(t)
	put(t, db, talk("before", 10)...) // a stream begins at the head
	k.set(0.3)
	stop := follow(t, db, "lake=kinesis://avatar-events#from=10", sink)
	put(t, db, talk("first", 120)...)
	k.wait(t, 50)
	p.kill() // in the middle
	put(t, db, talk("second", 60)...)
	p.start()
	put(t, db, talk("third", 60)...)
	wantInOrder(t, k.wait(t, 240), 11, 250)
	stop()
	if info := infoOf(t, db); info.Position != 250 || info.Sent != 240 || info.Destination != "kinesis://avatar-events" {
		t.Errorf("%+v", info)
	}
	if len(k.keys) != 3 || k.keys["agent-0"] == 0 {
		t.Errorf("partition keys %v", k.keys)
	}
}

func TestWhatKinesisTakesNotAsAWholeGoesWithoutItsContent(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	k, _, sink := newKinesis(t)
	long := strings.Repeat("é", 400_000) // in the message, and in the payload
	events := say("a", "s", "one", long, "three")
	events[1].RoomName = strings.Repeat("ö", 10_000)
	put(t, db, events...)
	other := say(strings.Repeat("ü", 200)+strings.Repeat("x", 112), "other", "four")
	noAgent := say("", "s", "five")
	put(t, db, append(other, noAgent...)...)
	stop := follow(t, db, "lake=kinesis://avatar-events#from=beginning", sink)
	got := k.wait(t, 5)
	wantInOrder(t, got, 1, 5)
	stop()
	for _, r := range got {
		isLong := r.position == 2
		if (r.omitted > 1<<20) != isLong || (r.message == "") != isLong || (r.payload == "null") != isLong {
			t.Errorf("%d: omitted %d, %d bytes", r.position, r.omitted, len(r.message))
		}
	}
	if info := infoOf(t, db); info.Omitted != 1 || info.Position != 5 || info.Sent != 5 {
		t.Errorf("%+v", info)
	}
	omissions, err := db.StreamOmissions(t.Context(), "lake", 10)
	if err != nil || len(omissions) != 1 || omissions[0].Position != 2 || omissions[0].Bytes < 1<<20 {
		t.Errorf("%v, %+v", err, omissions)
	}
	if k.keys["default"] != 1 || k.keys["a"] != 3 || len(k.keys) != 3 {
		t.Errorf("partition keys %v", k.keys)
	}
}

func TestLargeRecordsAreSplitOverRequests(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	k, _, sink := newKinesis(t)
	var events []*rapport.Event
	for i := range 6 {
		events = append(events, say("a", fmt.Sprint(i), strings.Repeat("x", 450_000)+fmt.Sprint(i))...)
	}
	put(t, db, events...)
	stop := follow(t, db, "lake=kinesis://avatar-events#from=beginning", sink)
	wantInOrder(t, k.wait(t, 6), 1, 6)
	stop()
	if info := infoOf(t, db); info.Omitted != 0 || info.Position != 6 {
		t.Errorf("%+v", info)
	}
}

func TestNothingOvertakesTheAnnouncementOfAnErasure(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	k, _, sink := newKinesis(t)
	k.set(0.3)
	put(t, db, talk("before", 60)...)
	erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "s3"})
	put(t, db, talk("after", 60)...) // but for what is of s3
	follow(t, db, "lake=kinesis://avatar-events#from=beginning", sink)
	for i, r := range k.wait(t, 115) {
		if (i < 60) != (r.position <= 60) || (i == 60) != (r.eventType == store.ErasedEvent) {
			t.Errorf("%d %s came as the %d.", r.position, r.eventType, i+1)
		}
	}
}

func TestManySessionsGoTogether(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	k, _, sink := newKinesis(t)
	var events []*rapport.Event
	for i := range 1200 {
		events = append(events, say("a", fmt.Sprint(i/2), fmt.Sprint(i))...)
	}
	put(t, db, events...)
	stop := follow(t, db, "lake=kinesis://avatar-events#from=beginning", sink)
	wantInOrder(t, k.wait(t, 1200), 1, 1200)
	stop()
	if k.requests > 8 {
		t.Errorf("%d requests for 1200 events of 600 sessions", k.requests)
	}
}
