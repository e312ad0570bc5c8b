package api

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// number is a row of the list of numbers, which is as long as it is asked to be.
type number struct {
	N      int       `json:"n" doc:"The number."`
	Text   string    `json:"text" doc:"In words."`
	Half   *float64  `json:"half" doc:"Half of it; null for 0."`
	Made   timestamp `json:"made" doc:"A time."`
	Nested struct {
		Even bool `json:"even" doc:"Whether it is even."`
	} `json:"nested" doc:"More."`
	Bytes   []byte          `json:"bytes" doc:"A byte."`
	Payload json.RawMessage `json:"payload" doc:"Any JSON."`
	hidden  int
}

type numbersInput struct {
	PageParams
	Until int    `query:"until" default:"10" doc:"How many there are."`
	Text  string `query:"text" doc:"The text of each."`
	Fails int    `query:"fails" echo:"-" doc:"At which it fails; 0: at none."`
}

// numbers is a server that lists numbers, and counts the pages that it has read.
func numbers(t *testing.T, limits Limits) (http.Handler, *atomic.Int64) {
	t.Helper()
	db, watch := noDatabase(t)
	var s *server
	newServer(t, options{config: Config{DB: db, Watch: watch, Keys: noKeys(db), Limits: limits}, made: func(config Config) {
		config.Metrics = NewMetrics()
		var err error
		if s, err = assemble(config); err != nil {
			t.Fatal(err)
		}
	}})
	pages := new(atomic.Int64)
	list(s, huma.Operation{OperationID: "list-numbers", Path: "/numbers"}, func(_ context.Context, in *numbersInput) (*answer[page[number]], error) {
		pages.Add(1)
		from, _ := strconv.Atoi(in.Cursor)
		if in.Limit > maxLimit {
			return nil, fmt.Errorf("a page of %d", in.Limit)
		}
		rows := []number{}
		for n := from; n < min(from+in.Limit, in.Until); n++ {
			if in.Fails > 0 && n >= in.Fails {
				return nil, errors.New("it fails")
			}
			row := number{N: n, Text: in.Text, Made: timestamp(noon), Bytes: []byte{byte(n)}, Payload: json.RawMessage(`{"a": [1]}`), hidden: 1}
			if n > 0 {
				row.Half = new(float64(n) / 2)
			}
			row.Nested.Even = n%2 == 0
			rows = append(rows, row)
		}
		next := ""
		if end := from + in.Limit; end < in.Until {
			next = strconv.Itoa(end)
		}
		return newPage(rows, func(n *number) number { return *n }, next), nil
	})
	return s.handler(), pages
}

func TestTheFormatOfAList(t *testing.T) {
	t.Parallel()
	h, _ := numbers(t, Limits{})
	for name, test := range map[string]struct {
		query, accept string
		want          string // the content type, or a status
	}{
		"nothing asked for":        {"", "", "application/json"},
		"anything":                 {"", "*/*", "application/json"},
		"a browser":                {"", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json"},
		"csv":                      {"", "text/csv", "text/csv; charset=utf-8; header=present"},
		"csv with parameters":      {"", "text/csv; header=present; charset=utf-8", "text/csv; charset=utf-8; header=present"},
		"any text":                 {"", "text/*", "text/csv; charset=utf-8; header=present"},
		"ndjson, in other letters": {"", "Application/X-NDJSON", "application/x-ndjson"},
		"what is liked best":       {"", "application/json;q=0.5, text/csv;q=0.6, application/x-ndjson;q=0.55", "text/csv; charset=utf-8; header=present"},
		"as little as the others":  {"", "text/csv, application/json", "application/json"},
		"the specific one counts":  {"", "*/*;q=0.9, application/json;q=0.1", "text/csv; charset=utf-8; header=present"},
		"not json":                 {"", "application/json;q=0, */*", "text/csv; charset=utf-8; header=present"},
		"what is wrong is skipped": {"", "nonsense, ;;, application/x-ndjson;q=x, text/csv;q=0.1", "text/csv; charset=utf-8; header=present"},
		"none of ours":             {"", "application/xml", "406"},
		"none at all":              {"", "text/csv;q=0", "406"},
		"format wins":              {"format=ndjson", "text/csv", "application/x-ndjson"},
		"format wins over nothing": {"format=json", "application/xml", "application/json"},
		"an unknown format":        {"format=xml", "", "400"},
		"format in capitals":       {"format=CSV", "", "400"},
		"too much JSON":            {"limit=1001", "", "400"},
		"as much as one likes":     {"limit=1001&format=csv", "", "text/csv; charset=utf-8; header=present"},
		"nothing":                  {"limit=0&format=csv", "", "400"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var headers []string
			if test.accept != "" {
				headers = []string{"Accept", test.accept}
			}
			w := get(h, "/numbers?"+test.query, headers...)
			if status, err := strconv.Atoi(test.want); err == nil {
				wantProblem(t, w, status)
				return
			}
			if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != test.want {
				t.Errorf("%d %s, want %s", w.Code, got, test.want)
			}
			if vary := w.Header().Values("Vary"); !slices.Contains(vary, "Accept") {
				t.Errorf("Vary: %v", vary)
			}
		})
	}
}

func TestAStreamHasAllRows(t *testing.T) {
	t.Parallel()
	h, pages := numbers(t, Limits{Reads: 1})
	for _, test := range []struct{ until, limit, rows, pages int }{
		{0, 0, 0, 1}, {10, 0, 10, 1}, {1000, 0, 1000, 1}, {1001, 0, 1001, 2}, {3500, 0, 3500, 4},
		{3500, 7, 7, 1}, {3500, 2000, 2000, 2}, {3500, 2001, 2001, 3}, {3500, 9999, 3500, 4},
	} {
		target := fmt.Sprintf("/numbers?until=%d", test.until)
		limit := "null"
		if test.limit > 0 {
			target += fmt.Sprintf("&limit=%d", test.limit)
			limit = strconv.Itoa(test.limit)
		}
		for _, format := range []string{formatCSV, formatNDJSON} {
			pages.Store(0)
			w := get(h, target+"&format="+format)
			lines := strings.Split(strings.TrimSuffix(w.Body.String(), "\n"), "\n")
			if format == formatCSV {
				lines = lines[1:]
			} else if w.Body.Len() == 0 {
				lines = nil
			}
			if len(lines) != test.rows || int(pages.Load()) != test.pages {
				t.Errorf("%s as %s: %d rows of %d pages, want %d of %d", target, format, len(lines), pages.Load(), test.rows, test.pages)
			}
			for i, line := range lines {
				if !strings.HasPrefix(line, strconv.Itoa(i)+",") && !strings.HasPrefix(line, fmt.Sprintf(`{"n":%d,`, i)) {
					t.Fatalf("row %d is %s", i, line)
				}
			}
			if got, want := w.Header().Get("X-Query"), fmt.Sprintf(`{"limit":%s,"text":null,"until":%d}`, limit, test.until); got != want {
				t.Errorf("X-Query: %s, want %s", got, want)
			}
		}
	}
}

func TestARowInEachFormat(t *testing.T) {
	t.Parallel()
	h, _ := numbers(t, Limits{})
	const text = "text=%C3%A9%22%2C%0A+%F0%9F%98%80&until=2"
	quoted := `"é\",\n 😀"`
	rows := []string{
		`{"n":0,"text":` + quoted + `,"half":null,"made":"2026-09-28T12:00:00.123456Z","nested":{"even":true},"bytes":"AA==","payload":{"a":[1]}}`,
		`{"n":1,"text":` + quoted + `,"half":0.5,"made":"2026-09-28T12:00:00.123456Z","nested":{"even":false},"bytes":"AQ==","payload":{"a":[1]}}`,
	}
	const query = `{"limit":50,"text":` + "%s" + `,"until":2}`
	if got, want := get(h, "/numbers?"+text).Body.String(), fmt.Sprintf(`{"data":[%s],"next_cursor":null,"has_more":false,"query":`+query+"}\n", strings.Join(rows, ","), quoted); got != want {
		t.Errorf("JSON: %s, want %s", got, want)
	}
	w := get(h, "/numbers?format=ndjson&"+text)
	if got, want := w.Body.String(), strings.Join(rows, "\n")+"\n"; got != want {
		t.Errorf("NDJSON: %s, want %s", got, want)
	}
	if got, want := w.Header().Get("X-Query"), `{"limit":null,"text":"\u00e9\",\n \ud83d\ude00","until":2}`; got != want {
		t.Errorf("X-Query: %s, want %s", got, want)
	}
	w = get(h, "/numbers?format=csv&"+text)
	want := "n,text,half,made,nested.even,bytes,payload\n" +
		"0,\"é\"\",\n 😀\",,2026-09-28T12:00:00.123456Z,true,AA==,\"{\"\"a\"\":[1]}\"\n" +
		"1,\"é\"\",\n 😀\",0.5,2026-09-28T12:00:00.123456Z,false,AQ==,\"{\"\"a\"\":[1]}\"\n"
	if got := w.Body.String(); got != want {
		t.Errorf("CSV: %s, want %s", got, want)
	}
	if got := w.Header().Get("Content-Disposition"); got != `attachment; filename="list-numbers.csv"` {
		t.Errorf("Content-Disposition: %s", got)
	}
}

func TestNoCellIsAFormula(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "a": "a", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM": "'@SUM", "\t=1": "'\t=1", "\r=1": "'\r=1", "\n": "'\n",
		"'": "'", "'tis": "'tis", "'=1": "''=1", "''=1": "'''=1", "a=1": "a=1", " =1": " =1", "é": "é", "\xff": "\xff",
	} {
		if got := harmless(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	h, _ := numbers(t, Limits{})
	rows, err := csv.NewReader(get(h, "/numbers?until=2&format=csv&text=%3D1").Body).ReadAll()
	if err != nil || rows[2][1] != "'=1" || rows[2][2] != "0.5" {
		t.Error(rows, err)
	}
}

func TestAStreamThatFails(t *testing.T) {
	t.Parallel()
	h, _ := numbers(t, Limits{})
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	t.Run("before it has begun is a problem", func(t *testing.T) {
		t.Parallel()
		wantProblem(t, get(h, "/numbers?format=ndjson&fails=1"), http.StatusServiceUnavailable)
	})
	for _, encoding := range []string{"identity", "gzip", "zstd"} {
		t.Run("later is cut, "+encoding, func(t *testing.T) {
			t.Parallel()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/numbers?until=5000&format=ndjson&fails=1500", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept-Encoding", encoding)
			answer, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = answer.Body.Close() }()
			if body, err := io.ReadAll(answer.Body); !errors.Is(err, io.ErrUnexpectedEOF) || len(body) == 0 {
				t.Errorf("%d bytes, %v", len(body), err)
			}
		})
	}
}

func TestAClientThatLeavesStopsItsStream(t *testing.T) {
	t.Parallel()
	h, pages := numbers(t, Limits{Reads: 1})
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "until=1000000000") {
			defer close(ended)
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	ask := func(ctx context.Context, until string) *http.Response {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/numbers?format=ndjson&until="+until, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = answer.Body.Close() })
		return answer
	}
	ctx, leave := context.WithCancel(t.Context())
	answer := ask(ctx, "1000000000")
	if line, err := bufio.NewReader(answer.Body).ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"n":0,`) {
		t.Fatal(line, err)
	}
	// While it is slow, its seat is another's.
	if w := get(h, "/numbers"); w.Code != http.StatusOK {
		t.Errorf("beside a slow stream: %d %s", w.Code, w.Body)
	}
	leave()
	<-ended
	if n := pages.Load(); n > 10_000 {
		t.Errorf("%d pages were read", n)
	}
	if answer := ask(t.Context(), "3"); answer.StatusCode != http.StatusOK {
		t.Errorf("its seat is not free: %d", answer.StatusCode)
	}
}

func TestHeadOfAStream(t *testing.T) {
	t.Parallel()
	h, pages := numbers(t, Limits{})
	w := send(h, newRequest(http.MethodHead, "/numbers?format=csv&until=5000", nil))
	if w.Code != http.StatusOK || w.Body.Len() > 0 || pages.Load() != 1 || w.Header().Get("X-Query") == "" {
		t.Errorf("%d, %d bytes, %d pages", w.Code, w.Body.Len(), pages.Load())
	}
}

func TestWhatIsKnownIsNotSentAgain(t *testing.T) {
	t.Parallel()
	h, _ := numbers(t, Limits{})
	const target = "/numbers?until=40"
	first := get(h, target)
	tag := first.Header().Get("ETag")
	if !strings.HasPrefix(tag, `"`) || first.Header().Get("Cache-Control") != "private, no-cache" {
		t.Fatalf("ETag %q, Cache-Control %q", tag, first.Header().Get("Cache-Control"))
	}
	zipped := get(h, target, "Accept-Encoding", "gzip")
	zippedTag := zipped.Header().Get("ETag")
	if zippedTag == tag || zipped.Header().Get("Content-Encoding") != "gzip" || !slices.Contains(zipped.Header().Values("Vary"), "Accept-Encoding") {
		t.Errorf("compressed: %v", zipped.Header())
	}
	reader, err := gzip.NewReader(zipped.Body)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := io.ReadAll(reader); err != nil || !bytes.Equal(plain, first.Body.Bytes()) {
		t.Error("what is compressed is another answer")
	}
	for name, test := range map[string]struct {
		target  string
		headers []string
		want    int
	}{
		"it":                 {target, []string{"If-None-Match", tag}, 304},
		"compressed":         {target, []string{"If-None-Match", zippedTag, "Accept-Encoding", "gzip"}, 304},
		"with zstd":          {target, []string{"If-None-Match", get(h, target, "Accept-Encoding", "zstd").Header().Get("ETag")}, 304},
		"weak":               {target, []string{"If-None-Match", "W/" + tag}, 304},
		"one of many":        {target, []string{"If-None-Match", `"x", ` + tag + ` , "y"`}, 304},
		"in many fields":     {target, []string{"If-None-Match", `"x"`, "If-None-Match", tag}, 304},
		"any":                {target, []string{"If-None-Match", "*"}, 304},
		"another":            {target, []string{"If-None-Match", `"x"`}, 200},
		"without its quotes": {target, []string{"If-None-Match", strings.Trim(tag, `"`)}, 200},
		"of another query":   {"/numbers?until=41", []string{"If-None-Match", tag}, 200},
		"of another format":  {target + "&format=csv", []string{"If-None-Match", tag}, 200},
		"of what fails":      {target + "&fails=1", []string{"If-None-Match", tag}, 503},
	} {
		w := get(h, test.target, test.headers...)
		if w.Code != test.want {
			t.Errorf("%s: %d, want %d", name, w.Code, test.want)
		}
		if w.Code == http.StatusNotModified && (w.Body.Len() > 0 || w.Header().Get("ETag") == "" || w.Header().Get("Cache-Control") == "" || w.Header().Get("Content-Encoding") != "") {
			t.Errorf("%s: %v %s", name, w.Header(), w.Body)
		}
		if w.Code == http.StatusServiceUnavailable && (w.Header().Get("ETag") != "" || w.Header().Get("Cache-Control") != "no-store") {
			t.Errorf("%s: %v", name, w.Header())
		}
	}
	for _, path := range []string{"/healthz", "/numbers?format=csv", "/numbers?format=ndjson"} {
		if tag := get(h, path).Header().Get("ETag"); tag != "" {
			t.Errorf("%s has the tag %s", path, tag)
		}
	}
}

func TestAPageKeepsItsTagWhileTimePasses(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.deliver(t, said("A", "s1", "user", "Hi", 1), said("A", "s2", "user", "Hi", 2))
	first := get(l, "/sessions?limit=1")
	later := noon.Add(1e9)
	l.now.Store(&later)
	if w := get(l, "/sessions?limit=1", "If-None-Match", first.Header().Get("ETag")); w.Code != http.StatusNotModified {
		t.Errorf("%d, of %v", w.Code, first.Header())
	}
	later = later.Add(3600e9) // its session has closed
	l.now.Store(&later)
	if w := get(l, "/sessions?limit=1", "If-None-Match", first.Header().Get("ETag")); w.Code != http.StatusOK {
		t.Errorf("%d, though it changed", w.Code)
	}
}

func TestStreamsOfOneClientLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	s := newLimiters(Limits{Reads: 8}, 1<<20).streams
	for range 2 {
		if _, ok := s.take(t.Context(), "a", 0); !ok {
			t.Fatal("a seat is refused")
		}
	}
	if _, ok := s.take(t.Context(), "a", 0); ok {
		t.Error("a third seat for one client")
	}
	if _, ok := s.take(t.Context(), "b", 0); !ok {
		t.Error("none for another")
	}
}
