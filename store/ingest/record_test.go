package ingest

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"rapport"
)

// anyEvent makes events with any value that a decoder may give to any field, also
// to those that are yet to come.
func anyEvent(t *rapid.T) *rapport.Event {
	e := &rapport.Event{
		OccurredAt: time.UnixMicro(rapid.Int64Range(1e15, 2e15).Draw(t, "occurred")).UTC(),
		ReceivedAt: time.UnixMicro(rapid.Int64Range(1e15, 2e15).Draw(t, "received")).UTC(),
		Payload:    rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
	}
	value := reflect.ValueOf(e).Elem()
	for i := range value.NumField() {
		field, name := value.Field(i), value.Type().Field(i).Name
		switch field.Interface().(type) {
		case string:
			field.SetString(rapport.CleanText(rapid.String().Draw(t, name)))
		case bool:
			field.SetBool(rapid.Bool().Draw(t, name))
		case *int32:
			field.Set(reflect.ValueOf(rapid.Ptr(rapid.Int32(), true).Draw(t, name)))
		case *float64:
			field.Set(reflect.ValueOf(rapid.Ptr(rapid.Float64(), true).Draw(t, name)))
		case rapport.Fingerprint:
			copy(e.Fingerprint[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, name))
		case map[string]string:
			field.Set(reflect.ValueOf(rapid.MapOfN(rapid.String(), rapid.String(), 1, 3).Draw(t, name)))
		}
	}
	e.Position = 0
	return e
}

func TestARecordGivesBackTheEvent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := anyEvent(t)
		got, q, err := readRecord(eventRecord(want))
		if err != nil || q != nil {
			t.Fatalf("%v, %v", q, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestARecordGivesBackWhatBelongsIntoTheQuarantine(t *testing.T) {
	t.Parallel()
	want := quarantined{[]byte("\xff{"), "not JSON", map[string]string{"User-Agent": "x"}, time.UnixMicro(1e15).UTC()}
	_, got, err := readRecord(quarantineRecord(want))
	if err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzReadRecord(f *testing.F) {
	f.Add(eventRecord(event("a")))
	f.Add(quarantineRecord(quarantined{body: []byte("no"), reason: "no"}))
	f.Add([]byte{kindEvent, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, record []byte) {
		e, q, err := readRecord(record)
		if (err == nil) != (e != nil || q != nil) {
			t.Errorf("%v, %v, %v", e, q, err)
		}
	})
}
