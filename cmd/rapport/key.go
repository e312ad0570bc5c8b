package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"rapport"
	"rapport/api"
	"rapport/api/access"
	"rapport/store"
)

type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Make an API key, and print it: this once."`
	List   keyListCmd   `cmd:"" help:"List the API keys, without the keys themselves."`
	Revoke keyRevokeCmd `cmd:"" help:"Revoke an API key. Running servers know it within seconds."`
}

type keyCreateCmd struct {
	databaseFlags
	logFlags
	Name    string `required:"" placeholder:"NAME" help:"What to call it, as lists and the audit show it."`
	Scope   bound  `required:"" placeholder:"SCOPE,…" help:"What it may: read (sessions, messages, events and what is computed of them), sql (statements of one's own), live (what happens now), admin (all of these, and whatever changes something)."`
	Agent   bound  `placeholder:"AGENT_ID,…" help:"Whose data it sees. Not with sql or admin, which reach everybody's. Default: all agents."`
	Expires bound  `placeholder:"90d" help:"For how long it is valid, such as 90d or 12h. Default: until it is revoked."`
}

// bound is a flag without which there is no bound. So one that is given as nothing,
// as by a variable of a script that is not set, is an error.
type bound string

// UnmarshalText reads the flag.
func (b *bound) UnmarshalText(text []byte) error {
	if strings.TrimSpace(string(text)) == "" {
		return errors.New("it is given, but holds nothing: say what, or leave it out")
	}
	if *b != "" { // given again: both count
		*b += ","
	}
	*b += bound(text)
	return nil
}

// Help is what --help says besides the flags.
func (*keyCreateCmd) Help() string {
	return `The key is all that is written to stdout: KEY=$(rapport key create --name grafana --scope read).
Rapport keeps its SHA-256 alone, so a lost key is revoked and replaced. Send it in the header
Authorization: Bearer KEY. As soon as there is a key, reads need one on loopback too.`
}

// Run makes a key.
func (c *keyCreateCmd) Run(ctx context.Context, io streams) error {
	made, err := c.key(time.Now())
	if err != nil {
		return err
	}
	key := access.NewKey()
	made.Prefix, made.Hash = access.PrefixOf(key), access.HashOf(key)
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		err := db.CreateKey(ctx, made, cliActor())
		if errors.Is(err, store.ErrKeyExists) {
			return fmt.Errorf("there is a key named %s already: name this one otherwise, or `rapport key revoke` that one first", made.Name)
		}
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(io.Err, "the key %s may %s; it is shown this once\n", made.Name, remark(&made))
		_, err = fmt.Fprintln(io.Out, key)
		return err
	})
}

// remark tells what a key may, in words.
func remark(k *store.NewKey) string {
	text := strings.Join(k.Scopes, ", ")
	if len(k.Agents) > 0 {
		text += " of " + strings.Join(k.Agents, ", ")
	}
	if k.ExpiresAt != nil {
		text += " until " + k.ExpiresAt.Format(time.RFC3339)
	}
	return text
}

// key is what the flags ask for, at a time.
func (c *keyCreateCmd) key(now time.Time) (store.NewKey, error) {
	if err := checkKeyName(c.Name); err != nil {
		return store.NewKey{}, err
	}
	scopes, err := access.ParseScopes(string(c.Scope))
	if err != nil {
		return store.NewKey{}, fmt.Errorf("--scope: %w", err)
	}
	agents, err := list("agent", string(c.Agent))
	if err != nil {
		return store.NewKey{}, err
	}
	who := access.Identity{Name: c.Name, Scopes: scopes, Agents: agents}
	if err := who.Check(); err != nil {
		return store.NewKey{}, err
	}
	made := store.NewKey{Name: c.Name}
	for _, scope := range scopes {
		made.Scopes = append(made.Scopes, string(scope))
	}
	for _, agent := range agents {
		made.Agents = append(made.Agents, rapport.CleanText(agent)) // as it is in the log
	}
	if c.Expires != "" {
		valid, err := parseExpires(string(c.Expires))
		if err != nil {
			return store.NewKey{}, err
		}
		until := now.Add(valid).UTC().Truncate(time.Second)
		made.ExpiresAt = &until
	}
	return made, nil
}

// maxKeyName is how many characters a name may have.
const maxKeyName = 64

// checkKeyName refuses what would not be told apart in a list or in the audit.
func checkKeyName(name string) error {
	notShown := func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }
	switch {
	case name == "" || strings.TrimSpace(name) != name || strings.ContainsFunc(name, notShown) || utf8.RuneCountInString(name) > maxKeyName:
		return fmt.Errorf("--name must be 1 to %d printable characters, without space around them", maxKeyName)
	case api.IsReserved(name):
		return fmt.Errorf("--name can't be %s, which is the name of something else in the audit", name)
	}
	return nil
}

const (
	day          = 24 * time.Hour
	leastExpires = time.Second
	mostExpires  = 36500 * day
)

// parseExpires reads a Go duration, or whole days as 90d.
func parseExpires(text string) (time.Duration, error) {
	valid, err := time.ParseDuration(text)
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		var n int64
		n, err = strconv.ParseInt(days, 10, 32)
		valid = min(time.Duration(n), mostExpires/day+1) * day
	}
	if err != nil || valid < leastExpires || valid > mostExpires {
		return 0, fmt.Errorf("--expires must be a time such as 90d or 12h, at most 36500d, and is %q", text)
	}
	return valid, nil
}

type keyListCmd struct {
	databaseFlags
	logFlags
	JSON bool `name:"json" help:"One JSON object a line."`
}

// Run lists the keys.
func (c *keyListCmd) Run(ctx context.Context, io streams) error {
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		keys, err := db.Keys(ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			return writeKeysJSON(io, keys)
		}
		table := tabwriter.NewWriter(io.Out, 0, 8, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "NAME\tKEY\tSCOPES\tAGENTS\tEXPIRES\tLAST USED\tREVOKED")
		for _, k := range keys {
			_, _ = fmt.Fprintf(table, "%s\t%s…\t%s\t%s\t%s\t%s\t%s\n", k.Name, k.Prefix, strings.Join(k.Scopes, ","),
				agentsCell(k.Agents), timeCell(k.ExpiresAt, "never"), timeCell(k.LastUsedAt, "never"), timeCell(k.RevokedAt, "no"))
		}
		return table.Flush()
	})
}

func agentsCell(agents []string) string {
	if len(agents) == 0 {
		return "all"
	}
	return inCell(strings.Join(agents, ","))
}

// timeCell is a time, or what its absence means.
func timeCell(at *time.Time, absent string) string {
	if at == nil {
		return absent
	}
	return at.UTC().Format(time.RFC3339)
}

func writeKeysJSON(io streams, keys []store.Key) error {
	encoder := json.NewEncoder(io.Out)
	for _, k := range keys {
		line := map[string]any{
			"name": k.Name, "prefix": k.Prefix, "scopes": k.Scopes, "agents": k.Agents, "created_at": k.CreatedAt,
			"expires_at": k.ExpiresAt, "last_used_at": k.LastUsedAt, "revoked_at": k.RevokedAt,
		}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

type keyRevokeCmd struct {
	databaseFlags
	logFlags
	Name string `arg:"" help:"Which one."`
}

// Run revokes a key.
func (c *keyRevokeCmd) Run(ctx context.Context, io streams) error {
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		err := db.RevokeKey(ctx, c.Name, cliActor())
		if errors.Is(err, store.ErrNoKey) {
			return fmt.Errorf("there is no key named %q that is not revoked: see `rapport key list`", c.Name)
		}
		if err != nil {
			return err
		}
		left, _, err := db.StandingKeys(ctx)
		if err == nil && len(left) == 0 {
			_, _ = fmt.Fprintln(io.Err, "no key is left: a server on loopback without RAPPORT_API_TOKEN answers all of its machine again")
		}
		_, err = fmt.Fprintf(io.Out, "%s is revoked\n", c.Name)
		return err
	})
}
