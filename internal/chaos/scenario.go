package chaos

import (
	"context"
	"slices"
	"time"
)

// Scenario is one way in which things go wrong.
type Scenario struct {
	Name  string
	About string
	Short Scale // for `make test`
	Long  Scale // for a release
	Run   func(context.Context, *Trial) error
}

// Scale is how much of a scenario there is.
type Scale struct {
	Rounds int
	For    time.Duration // how long a fault lasts, at most, where that is the scenario's to choose
	Rate   float64       // deliveries a second, at most
	Within time.Duration // for all of it; more is a failure
	Strict bool          // latencies are held to what is promised: nothing else runs beside it
}

// Scenarios are all there are, in the order in which they are run.
func Scenarios() []Scenario {
	all := slices.Clone(scenarios)
	for i := range all {
		all[i].Short.Within, all[i].Long.Within, all[i].Long.Strict = 2*time.Minute, 45*time.Minute, true
	}
	return all
}

var scenarios = []Scenario{
	{
		"kill-server", "kill -9 of the server, sometimes with its Postgres; started again at once",
		Scale{Rounds: 3, Rate: 400}, Scale{Rounds: 100, Rate: 2500}, killServer,
	},
	{
		"kill-postgres", "kill -9 of Postgres, or of one of its backends",
		Scale{Rounds: 3, Rate: 400}, Scale{Rounds: 30, Rate: 2500}, killPostgres,
	},
	{
		"kill-draining", "kill -9 of the server, and of Postgres, while the spool is drained",
		Scale{Rounds: 2, Rate: 600, For: 1500 * time.Millisecond}, Scale{Rounds: 30, Rate: 2500, For: 4 * time.Second}, killDraining,
	},
	{
		"postgres-gone", "Postgres is away; every delivery is answered 200, fast",
		Scale{Rounds: 1, Rate: 300, For: 10 * time.Second}, Scale{Rounds: 1, Rate: 2000, For: 10 * time.Minute}, postgresGone,
	},
	{
		"start-without", "a server is started, and restarted, while Postgres is away",
		Scale{Rounds: 1, Rate: 300}, Scale{Rounds: 20, Rate: 1500}, startWithout,
	},
	{
		"start-broken", "the same, with a Postgres of its own that can't be started",
		Scale{Rounds: 1, Rate: 300}, Scale{Rounds: 10, Rate: 1500}, startBroken,
	},
	{
		"frozen-server", "one of two servers is frozen; the other's deliveries wait 10 s at most",
		Scale{Rounds: 1, Rate: 300, For: 6 * time.Second}, Scale{Rounds: 15, Rate: 2000, For: 15 * time.Second}, frozenServer,
	},
	{
		"frozen-postgres", "Postgres is frozen, with all of its backends",
		Scale{Rounds: 1, Rate: 300, For: 4 * time.Second}, Scale{Rounds: 15, Rate: 1500, For: 12 * time.Second}, frozenPostgres,
	},
	{
		"swallowed", "the answer to a COMMIT is swallowed, and the connection cut",
		Scale{Rounds: 4, Rate: 300}, Scale{Rounds: 100, Rate: 1500}, swallowed,
	},
	{
		"two-servers", "two servers, two aggregators, one database, one of them killed every 5 s",
		Scale{Rounds: 2, Rate: 300}, Scale{Rounds: 60, Rate: 800}, twoServers,
	},
	{
		"locked", "a stranger holds the lock of the log, or of the rollups",
		Scale{Rounds: 2, Rate: 300, For: 5 * time.Second}, Scale{Rounds: 6, Rate: 1000, For: time.Minute}, locked,
	},
	{
		"read-only", "Postgres is read-only, as after a failover",
		Scale{Rounds: 1, Rate: 300, For: 4 * time.Second}, Scale{Rounds: 10, Rate: 1500, For: 15 * time.Second}, readOnly,
	},
	{
		"no-slots", "strangers take all of Postgres's connections",
		Scale{Rounds: 1, Rate: 300, For: 4 * time.Second}, Scale{Rounds: 10, Rate: 1500, For: 15 * time.Second}, noSlots,
	},
	{
		"restarted", "Postgres is restarted, fast or immediate",
		Scale{Rounds: 2, Rate: 300}, Scale{Rounds: 30, Rate: 1500}, restarted,
	},
	{
		"cut", "connections to Postgres are cut at random, and slow",
		Scale{Rounds: 1, Rate: 300, For: 4 * time.Second}, Scale{Rounds: 20, Rate: 1000, For: 10 * time.Second}, cut,
	},
	{
		"stalled", "the network to Postgres loses everything, and cuts nothing",
		Scale{Rounds: 1, Rate: 300, For: 5 * time.Second}, Scale{Rounds: 15, Rate: 1500, For: 15 * time.Second}, stalled,
	},
	{
		"full-postgres", "Postgres's disk is full",
		Scale{Rounds: 1, Rate: 500, For: 4 * time.Second}, Scale{Rounds: 10, Rate: 1000, For: 15 * time.Second}, fullPostgres,
	},
	{
		"full-spool", "the spool is at its bound while Postgres is away: 503, and nothing that was answered 200 is lost",
		Scale{Rounds: 1, Rate: 500, For: 15 * time.Second}, Scale{Rounds: 10, Rate: 1500, For: 30 * time.Second}, fullSpool,
	},
	{
		"full-spool-disk", "the spool's disk is full while Postgres is away",
		Scale{Rounds: 1, Rate: 800, For: 15 * time.Second}, Scale{Rounds: 10, Rate: 1500, For: 30 * time.Second}, fullSpoolDisk,
	},
	{
		"full-disk", "the one disk of Postgres and the spool is full",
		Scale{Rounds: 1, Rate: 500, For: 15 * time.Second}, Scale{Rounds: 10, Rate: 1500, For: 30 * time.Second}, fullDisk,
	},
	{
		"sigterm", "SIGTERM under load",
		Scale{Rounds: 2, Rate: 500}, Scale{Rounds: 50, Rate: 3000}, sigterm,
	},
	{
		"rolling", "two servers behind a balancer are restarted in turn: no request is dropped",
		Scale{Rounds: 1, Rate: 300}, Scale{Rounds: 20, Rate: 1500}, rolling,
	},
	{
		"clock-behind", "the server's clock is two days behind the log's, as if it had been set back",
		Scale{Rounds: 1, Rate: 300}, Scale{Rounds: 3, Rate: 1000}, clockBehind,
	},
	{
		"rebuild", "`rapport rebuild` under load, sometimes killed on its way; reads are answered throughout",
		Scale{Rounds: 1, Rate: 300, For: 2 * time.Second}, Scale{Rounds: 10, Rate: 1500, For: time.Minute}, rebuild,
	},
}
