package deliver

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"rapport/store"
	"rapport/store/storetest"
)

// child is set for a process of its own, which the tests kill: its database and a peer.
const child = "RAPPORT_TEST_DELIVERER"

func TestMain(m *testing.M) {
	if config := os.Getenv(child); config != "" {
		if err := runChild(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	storetest.Main(m)
}

type childConfig struct{ Database, Peer string }

func runChild(text string) error {
	var config childConfig
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return err
	}
	db, err := store.Open(context.Background(), config.Database)
	if err != nil {
		return err
	}
	to := settings(Destination{Name: "crm", Kind: HTTP, URL: config.Peer})
	d, err := newDeliverer(db, to, NewMetrics(), slog.New(slog.NewTextHandler(os.Stderr, nil)), fast)
	if err != nil {
		return err
	}
	return d.Run(context.Background())
}

func TestAServerIsKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	db, p := storetest.New(t), newPeer(t)
	p.answers(hangs)
	config, err := json.Marshal(childConfig{Database: db.URL("rapport_server"), Peer: p.URL})
	if err != nil {
		t.Fatal(err)
	}
	process := exec.Command(os.Args[0])
	process.Env, process.Stderr = append(os.Environ(), child+"="+string(config)), os.Stderr
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = process.Process.Kill(); _ = process.Wait() })
	const n = 20
	enqueue(t, db, some("crm", n)...)
	begun := p.ids(t, defaultConcurrency)
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = process.Wait()
	p.answers(status(http.StatusOK))
	// The other one finds out by and by: so long ago it was.
	db.Exec(t, "rapport_server", "UPDATE river_leader SET expires_at = now() - interval '1 s'")
	db.Exec(t, "rapport_server", "UPDATE river_job SET attempted_at = attempted_at - interval '1 min' WHERE state = 'running'")
	begin(t, db, settings(p.destination("crm")), fast)
	told := make(map[string]int)
	for len(told) < n {
		told[p.next(t).id]++
	}
	for _, id := range begun {
		if told[id] == 0 {
			t.Errorf("%s was begun, and is lost", id)
		}
	}
	eventually(t, "nothing is left to do", func() bool {
		tally, err := db.DeliveryTally(t.Context())
		return err == nil && len(tally) == 0
	})
}

func TestWhatIsErasedWhileItIsUnderWayIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	db, p := storetest.New(t), newPeer(t)
	goOn := make(chan struct{})
	p.answers(func(w http.ResponseWriter, _ *http.Request) {
		<-goOn
		w.WriteHeader(http.StatusInternalServerError)
	})
	log := new(notes)
	_, stop := beginLogged(t, db, settings(p.destination("crm")), fast, errorsTo(log))
	enqueue(t, db, some("crm", 1)...)
	p.next(t)
	plan, err := db.PlanErasure(t.Context(), store.ErasureRequest{Kind: store.EraseSession, SessionID: "s1", By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Erase(t.Context(), plan, nil); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	p.answers(status(http.StatusOK))
	enqueue(t, db, some("crm", 2)[1])
	if got := p.next(t); got.id != "d2" {
		t.Errorf("%s was told", got.id)
	}
	awaitJobs(t, db, map[string]string{"d2": "completed 1"})
	stop()
	if text := log.String(); text != "" || len(p.told) != 0 {
		t.Errorf("%d more, and the log has %s", len(p.told), text)
	}
}

// TestADeliveryWaitsForNoTimer: what is enqueued is told of at once.
func TestADeliveryWaitsForNoTimer(t *testing.T) {
	t.Parallel()
	db, p := storetest.New(t), newPeer(t)
	never := fast
	never.poll = time.Hour
	begin(t, db, settings(p.destination("crm")), never)
	deliveries := some("crm", 5)
	for _, one := range deliveries { // the first may come before anybody listens
		enqueue(t, db, one)
	}
	p.ids(t, 1)
	deliveries[0].ID = "another"
	enqueue(t, db, deliveries[0])
	for p.next(t).id != "another" {
	}
}
