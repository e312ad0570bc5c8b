package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/store/embedpg"
	"rapport/store/storetest"
)

// ownPostgres is a cluster of a test's own, for what the whole cluster has: roles,
// settings, who may log in. It listens on a port of loopback, too.
type ownPostgres struct {
	*embedpg.Server
	t    *testing.T
	dir  string
	port string
}

func newOwnPostgres(t *testing.T) *ownPostgres {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	_, port, _ := net.SplitHostPort(address)
	dir := dataDir(t)
	server, err := embedpg.Start(t.Context(), embedpg.Config{DataDir: dir, Listen: address, Ephemeral: true, Logger: storetest.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return &ownPostgres{Server: server, t: t, dir: dir, port: port}
}

// exec runs statements as a role, each by itself.
func (p *ownPostgres) exec(role string, statements ...string) {
	p.t.Helper()
	conn, err := pgx.Connect(p.t.Context(), p.URL(role))
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = conn.Close(p.t.Context()) }()
	for _, statement := range statements {
		if _, err := conn.Exec(p.t.Context(), statement); err != nil {
			p.t.Fatalf("%s: %v", statement, err)
		}
	}
}

// admit replaces who may log in, and how.
func (p *ownPostgres) admit(rules string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, "pg_hba.conf"), []byte(rules), 0o644); err != nil {
		p.t.Fatal(err)
	}
	p.exec("postgres", "SELECT pg_reload_conf()")
}

// give writes a file into the cluster as Postgres wants it: its own, and private.
func (p *ownPostgres) give(name string, content []byte) {
	p.t.Helper()
	cluster := filepath.Join(p.dir, "postgres")
	info, err := os.Stat(cluster)
	if err != nil {
		p.t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	path := filepath.Join(cluster, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
		p.t.Fatal(err)
	}
}
