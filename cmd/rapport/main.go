// Command rapport keeps what avatars report of their conversations, and answers
// questions about it. See `rapport --help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	// A log that nobody reads any more (rapport serve | head) must not end the server.
	signal.Ignore(syscall.SIGPIPE)
	ends := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, "rapport:", oneLine(err))
		os.Exit(1)
	}
}

// streams are what a command reads and writes.
type streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// cli is the whole command line. Every flag has an environment variable of the
// same name: --data-dir is RAPPORT_DATA_DIR.
type cli struct {
	Serve       serveCmd    `cmd:"" help:"Accept webhooks, keep them, fold them into sessions, and answer questions."`
	Demo        demoCmd     `cmd:"" help:"Send believable conversations to a running server."`
	Migrate     migrateCmd  `cmd:"" help:"Bring the database's schema up to date, as its owner."`
	DB          dbCmd       `cmd:"" name:"db" help:"The database behind the server."`
	Heal        healCmd     `cmd:"" help:"Fetch from the sender's own record what its webhooks lost."`
	Quarantine  quarantine  `cmd:"" help:"Deliveries that were authentic but are no event."`
	DeadLetters deadLetters `cmd:"" help:"Dead letters: events that could not be folded, and deliveries that no destination took."`
	SQL         sqlCmd      `cmd:"" name:"sql" help:"Run a statement of your own on the tables of analytics, as POST /sql does."`
	Key         keyCmd      `cmd:"" help:"API keys: who may read and steer over HTTP."`
	Source      sourceCmd   `cmd:"" help:"Webhook sources: who may deliver, and how that is proven."`
	Stream      streamCmd   `cmd:"" help:"Streams: where the log is passed on to."`
	Alert       alertCmd    `cmd:"" help:"Alerts: rules on metrics, and how they stand."`
	Audit       auditCmd    `cmd:"" help:"Who did what with rights that not everybody has."`
	Retain      retainCmd   `cmd:"" help:"Let go of what is too old, once."`
	Verify      verifyCmd   `cmd:"" help:"Prove the sessions and the counters from the whole log; exit code 1 on any difference."`
	Erase       eraseCmd    `cmd:"" help:"Erase what was said, for good, by session, user or agent; the numbers stay."`
	Export      exportCmd   `cmd:"" help:"Write sessions, messages or events as Parquet, CSV or NDJSON."`
	Import      importCmd   `cmd:"" help:"Append deliveries or exported events from NDJSON to the log."`
	Rules       rulesCmd    `cmd:"" help:"Check a file of rules, and try it on the log."`
	Restore     restoreCmd  `cmd:"" help:"Make the database again from an archive alone: see rapport serve --archive."`
	Rebuild     rebuildCmd  `cmd:"" help:"Fold the sessions anew from the whole log, or with other settings, while everything goes on."`
	Doctor      doctorCmd   `cmd:"" help:"Look at everything an operator has to care for, and say what to do; exit code 1 on a problem."`

	Version kong.VersionFlag `help:"Print the version and exit."`
}

// run is the program: main without the process.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) error {
	var exit *exitError
	var warnings []string
	parser, err := kong.New(&cli{},
		kong.Name("rapport"),
		kong.Description("Rapport is where the webhooks of talking avatars go: an event log in Postgres, and the sessions folded from it."),
		kong.Vars{"version": version()},
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(&exitError{code}) }),
		kong.Resolvers(environment(getenv, &warnings)),
		kong.ValueFormatter(helpWithVariable),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(streams{In: stdin, Out: stdout, Err: stderr}),
	)
	if err != nil {
		return err
	}
	err = parseAndRun(parser, args, stderr, &warnings)
	if errors.As(err, &exit) && exit.code == 0 {
		return nil // --help and --version have said it all
	}
	return err
}

// exitError is what kong's own exits become, so that run always returns.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

func parseAndRun(parser *kong.Kong, args []string, stderr io.Writer, warnings *[]string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			exit, ok := r.(*exitError)
			if !ok {
				panic(r)
			}
			err = exit
		}
	}()
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if err != nil {
		return fmt.Errorf("%w (see `rapport --help`)", withoutSecrets(err, args, secretFlags(parser.Model.Node)))
	}
	*warnings = append(onCommandLine(command), *warnings...)
	serves := command.Selected().Target.Type() == reflect.TypeFor[serveCmd]()
	if serves {
		*warnings = append(*warnings, unknownVariables(parser.Model.Node, os.Environ())...)
	}
	command.Bind(cautions(*warnings))
	if err := command.Run(); err != nil {
		return err // one clear line
	}
	if !serves { // which has told them
		warn(command, *warnings, stderr)
	}
	return nil
}

// cautions are what should be done better about the secrets that a command was given.
type cautions []string

// warn writes warnings as the command writes its log.
func warn(command *kong.Context, warnings []string, stderr io.Writer) {
	logger := new(logFlags).logger(stderr)
	if selected := command.Selected(); selected != nil && selected.Target.CanAddr() {
		if c, ok := selected.Target.Addr().Interface().(interface {
			logger(io.Writer) *slog.Logger
		}); ok {
			logger = c.logger(stderr)
		}
	}
	for _, warning := range warnings {
		logger.Warn(warning)
	}
}

// variable is the environment variable of a flag.
func variable(flag string) string {
	return "RAPPORT_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// environment gives flags that are not on the command line their value. An
// empty variable is as good as none.
func environment(getenv func(string) string, warnings *[]string) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if flag.Name == "help" || flag.Name == "version" || isExplicit(flag) {
			return nil, nil
		}
		value := getenv(variable(flag.Name))
		if isSecret(flag) {
			var err error
			if value, err = secretOf(flag.Name, getenv, warnings); err != nil {
				return nil, err
			}
		}
		if value == "" {
			return nil, nil
		}
		return value, nil
	})
}

func helpWithVariable(value *kong.Value) string {
	if value.Flag == nil || value.Flag.Name == "help" || value.Flag.Name == "version" || isExplicit(value.Flag) {
		return value.Help
	}
	variables := "$" + variable(value.Flag.Name)
	if isSecret(value.Flag) {
		variables += " or $" + fileVariable(value.Flag.Name)
	}
	return fmt.Sprintf("%s (%s)", strings.TrimSuffix(value.Help, "."), variables)
}

// release is set by the build: see the Makefile.
var release = "devel"

func version() string { return "rapport " + release }

// oneLine is what an operator reads of an error. Postgres is tried with TLS and without,
// at each address: what is said twice, or only that it has no TLS, is left out.
func oneLine(err error) string {
	var lines []string
	all := strings.Split(strings.TrimSpace(err.Error()), "\n")
	for i, line := range all {
		line = strings.Join(strings.Fields(line), " ")
		isLast := i == len(all)-1
		if line == "" || slices.Contains(lines, line) || !isLast && strings.HasSuffix(line, "server refused TLS connection") {
			continue
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, " ")
}
