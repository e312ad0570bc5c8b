package dashboard

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

const healthPath = "/ui/health"

// healthReport is what GET /readyz answers, whether all is well or not.
type healthReport struct {
	Status     string `json:"status"` // ok, unavailable or draining
	Database   status `json:"database"`
	Migrations status `json:"migrations"`
	Lag        struct {
		status
		LagEvents  *int64   `json:"lag_events"`
		LagSeconds *float64 `json:"lag_seconds"`
		AlarmS     float64  `json:"alarm_s"`
	} `json:"lag"`
	Spool struct {
		status
		Records  int64   `json:"records"`
		Bytes    int64   `json:"bytes"`
		AgeS     float64 `json:"age_s"`
		Damaged  int64   `json:"damaged_segments"`
		Open     bool    `json:"open"`
		OpenForS float64 `json:"open_for_s"`
	} `json:"spool"`
}

type status struct {
	Status string `json:"status"`
}

// check is one thing that is well, or not.
type check struct {
	Name   string
	Badge  string // good, warn or bad
	State  string // in a word or two
	Detail string // figures, and where it is not well, what to do
	Path   string // of the page that tells more; empty: there is none
}

// follower is what follows the log, and how far it is behind.
type follower struct {
	Name    string
	Does    string
	Events  int64
	Seconds float64
	Badge   string
	State   string
}

// destination is where deliveries go.
type destination struct {
	Name    string
	Waiting int64
	Dead    int64
	Breaker string // of this process: closed, half-open or open; empty if it sends none
}

type healthData struct {
	Checks       []check
	Worst        string // badge of the checks
	Followers    []follower
	Destinations []destination
	Version      string
	At           time.Time

	Untold  *Failure // why there are no metrics
	Limited bool     // the key sees some agents alone: metrics are of all
}

func health(r *Request) (any, error) {
	var ready healthReport
	var document struct {
		Info struct{ Version string } `json:"info"`
	}
	data := &healthData{Limited: len(r.Who.Agents) > 0, At: r.now}
	var told gauges
	err := r.Together(
		func() error { return r.healthReport(&ready) },
		func() error { return r.Get("/openapi.json", nil, &document) },
		func() (err error) {
			if data.Limited {
				return nil
			}
			if told, err = r.gauges(); err != nil {
				data.Untold = failureOf(err)
			}
			return nil
		},
	)
	if err != nil {
		return nil, err
	}
	data.Version = document.Info.Version
	data.Checks = checksOf(&ready)
	data.Checks = append(data.Checks, setAside(told)...)
	data.Worst = worst(data.Checks)
	data.Followers = followersOf(told, ready.Lag.AlarmS)
	data.Destinations = destinationsOf(told)
	return data, nil
}

// worst is the badge of the check that is the least well.
func worst(checks []check) string {
	for _, badge := range []string{"bad", "warn"} {
		if slices.ContainsFunc(checks, func(c check) bool { return c.Badge == badge }) {
			return badge
		}
	}
	return "good"
}

// healthReport reads GET /readyz, which answers 503 where something is wrong.
func (r *Request) healthReport(into *healthReport) error {
	told, err := r.answer(http.MethodGet, "/readyz", nil)
	if err != nil {
		return err
	}
	if told.status != http.StatusOK && told.status != http.StatusServiceUnavailable {
		return told.failure()
	}
	if err := json.Unmarshal(told.body.Bytes(), into); err != nil {
		return fmt.Errorf("the answer of GET /readyz can't be read: %w", err)
	}
	return nil
}

func (r *Request) gauges() (gauges, error) {
	told, err := r.answer(http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, err
	}
	if told.status != http.StatusOK {
		return nil, told.failure()
	}
	return readGauges(&told.body)
}

func checksOf(r *healthReport) []check {
	return []check{serverCheck(r), databaseCheck(r), schemaCheck(r), lagCheck(r), spoolCheck(r)}
}

func serverCheck(r *healthReport) check {
	switch r.Status {
	case "ok":
		return check{"Server", "good", "OK", "Deliveries are kept.", ""}
	case "draining":
		return check{"Server", "warn", "About to end", "Another one has to take its place: a balancer sends no more deliveries here.", ""}
	}
	return check{"Server", "bad", "Unavailable", "No delivery can be kept: neither the database nor the spool takes any. See below.", ""}
}

func databaseCheck(r *healthReport) check {
	if r.Database.Status == "ok" {
		return check{"Database", "good", "OK", "It answers within a second.", ""}
	}
	return check{"Database", "bad", "Unreachable", "It did not answer within a second. See whether Postgres runs, and RAPPORT_DATABASE_URL; rapport doctor says more. Deliveries go to the spool meanwhile.", ""}
}

func schemaCheck(r *healthReport) check {
	switch r.Migrations.Status {
	case "ok":
		return check{"Schema", "good", "OK", "It is the one that this version was made for.", ""}
	case "old":
		return check{"Schema", "bad", "Old", "It is older than this version: rapport migrate brings it up to date.", ""}
	case "new":
		return check{"Schema", "bad", "New", "It is of a newer version: update this server too.", ""}
	}
	return check{"Schema", "warn", "Unknown", "The database has not told.", ""}
}

func lagCheck(r *healthReport) check {
	events, seconds := int64(0), 0.0
	if r.Lag.LagEvents != nil {
		events = *r.Lag.LagEvents
	}
	if r.Lag.LagSeconds != nil {
		seconds = *r.Lag.LagSeconds
	}
	behind := "They are " + plural(events, "event", "events") + " and " + duration(seconds) + " behind the log."
	switch r.Lag.Status {
	case "ok":
		return check{"Sessions", "good", "Up to date", behind, ""}
	case "late":
		return check{"Sessions", "bad", "Late", behind + " From " + duration(r.Lag.AlarmS) + " on that is late: the server's log says what holds them up.", ""}
	}
	return check{"Sessions", "warn", "Unknown", "The database has not told.", ""}
}

func spoolCheck(r *healthReport) check {
	s := &r.Spool
	holds := plural(s.Records, "delivery waits", "deliveries wait") + " in it for the database (" + bytesOf(s.Bytes) + ", the oldest for " + duration(s.AgeS) + ")."
	if s.Records == 0 {
		holds = "It is empty."
	}
	damaged := ""
	if s.Damaged > 0 {
		damaged = " " + plural(s.Damaged, "damaged segment was", "damaged segments were") + " set aside: look at the disk. They are kept as *.damaged until you remove them."
	}
	switch {
	case s.Status == "off":
		return check{"Spool", "warn", "Off", "While the database is away, deliveries are refused. Without --no-spool the server keeps them on its disk.", ""}
	case s.Status == "full":
		return check{"Spool", "bad", "Full", holds + " It can't keep more: free some space, or bring the database back." + damaged, ""}
	case s.Open:
		return check{"Spool", "bad", "In use", "The database has kept nothing for " + duration(s.OpenForS) + ". " + holds + damaged, ""}
	case s.Records > 0:
		return check{"Spool", "warn", "Draining", holds + damaged, ""}
	case s.Damaged > 0:
		return check{"Spool", "bad", "Damaged", strings.TrimSpace(damaged), ""}
	}
	return check{"Spool", "good", "OK", holds, ""}
}

// setAside are what somebody has to look at, and alerts are not about.
func setAside(told gauges) []check {
	var checks []check
	if entries, isTold := told.value("rapport_quarantine_entries"); isTold && entries > 0 {
		checks = append(checks, check{"Quarantine", "warn", plural(int64(entries), "entry", "entries"), "Deliveries that are no event were kept.", quarantinePath})
	}
	dead := 0.0
	for _, n := range told.by("rapport_dead_letters", "follower") {
		dead += n
	}
	for _, n := range told.by("rapport_deliveries_dead", "destination") {
		dead += n
	}
	if dead > 0 {
		checks = append(checks, check{"Dead letters", "warn", plural(int64(dead), "dead letter", "dead letters"), "They wait until somebody has them tried again.", deadLettersPath})
	}
	if refused, isTold := told.value("rapport_rules_refused"); isTold && refused > 0 {
		checks = append(checks, check{"Rules", "bad", "Refused", "The file of rules is wrong, and the former rules are in force: rapport rules check says where.", ""})
	}
	return checks
}

// does says what a follower is for.
var does = map[string]string{
	"sessions": "Folds events into sessions",
	"search":   "Makes messages searchable",
	"reaction": "Fires rules",
	"archive":  "Writes the archive",
}

func followersOf(told gauges, alarm float64) []follower {
	seconds := told.by("rapport_follower_lag_seconds", "follower")
	events := told.by("rapport_follower_lag_events", "follower")
	var list []follower
	for _, name := range slices.Sorted(maps.Keys(events)) {
		list = append(list, followerOf(name, does[name], events[name], seconds[name], alarm))
	}
	seconds, events = told.by("rapport_stream_lag_seconds", "stream"), told.by("rapport_stream_lag_events", "stream")
	for _, name := range slices.Sorted(maps.Keys(events)) {
		list = append(list, followerOf(name, "Streams events out", events[name], seconds[name], alarm))
	}
	return list
}

func followerOf(name, does string, events, seconds, alarm float64) follower {
	f := follower{Name: name, Does: does, Events: int64(events), Seconds: seconds, Badge: "good", State: "Up to date"}
	switch {
	case seconds >= alarm:
		f.Badge, f.State = "bad", "Late"
	case events > 0:
		f.Badge, f.State = "accent", "Catching up"
	}
	return f
}

func destinationsOf(told gauges) []destination {
	waiting, dead := told.by("rapport_deliveries_waiting", "destination"), told.by("rapport_deliveries_dead", "destination")
	breakers := told.states("rapport_delivery_breaker", "destination", "state")
	named := map[string]bool{}
	for name := range waiting {
		named[name] = true
	}
	for name := range dead {
		named[name] = true
	}
	for name := range breakers {
		named[name] = true
	}
	var list []destination
	for _, name := range slices.Sorted(maps.Keys(named)) {
		list = append(list, destination{name, int64(waiting[name]), int64(dead[name]), breakers[name]})
	}
	return list
}

// Badge is the colour of how a destination does.
func (d *destination) Badge() string {
	switch {
	case d.Breaker == "open", d.Dead > 0:
		return "bad"
	case d.Breaker == "half-open":
		return "warn"
	}
	return "good"
}

// State is how a destination does.
func (d *destination) State() string {
	switch d.Breaker {
	case "open":
		return "Does not answer"
	case "half-open":
		return "Tried again"
	}
	if d.Dead > 0 {
		return "Has refused some"
	}
	return "OK"
}
