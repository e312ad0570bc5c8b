package embedpg

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// settings are the two files that Postgres is started with. They lie beside the
// cluster, not in it.
type settings struct {
	conf, hba string
}

func confPath(dir string) string { return filepath.Join(dir, "postgresql.conf") }
func hbaPath(dir string) string  { return filepath.Join(dir, "pg_hba.conf") }

func (s settings) write(dir string) error {
	// Not secret, and the user that Postgres runs as must read them.
	err := errors.Join(replaceFile(confPath(dir), s.conf, 0o644), replaceFile(hbaPath(dir), s.hba, 0o644))
	if err != nil {
		return fmt.Errorf("writing the settings of Postgres: %w", err)
	}
	return nil
}

// written reports whether the last start was with the same settings.
func (s settings) written(dir string) bool {
	conf, err1 := os.ReadFile(confPath(dir))
	hba, err2 := os.ReadFile(hbaPath(dir))
	return err1 == nil && err2 == nil && string(conf) == s.conf && string(hba) == s.hba
}

func (s *Server) settings() settings {
	var b strings.Builder
	b.WriteString("# Rapport writes this file at every start. To change a setting for good, use ALTER SYSTEM.\n")
	b.WriteString("include 'postgres/postgresql.conf'\n")
	for _, setting := range s.settingList() {
		fmt.Fprintf(&b, "%s = %s\n", setting[0], quote(setting[1]))
	}
	return settings{conf: b.String(), hba: hba(s.cfg.Listen != "")}
}

func (s *Server) settingList() [][2]string {
	list := [][2]string{
		{"hba_file", hbaPath(s.dir)},
		{"unix_socket_directories", `"` + strings.ReplaceAll(s.endpoint.dir, `"`, `""`) + `"`},
		{"listen_addresses", s.port.addresses()},
		{"port", fmt.Sprint(s.port.number)},
		{"max_connections", "100"},
		{"password_encryption", "scram-sha-256"},
		{"timezone", "UTC"},
		{"checkpoint_timeout", "15min"},
		{"random_page_cost", "1.1"}, // solid state disks
		{"jit", "off"},              // costs more than it gains in queries of this size

		// The collector, and not our own output, so that nobody who reads the
		// latter waits for Postgres to end. Old files are removed by pruneLogs.
		{"logging_collector", "on"},
		{"log_directory", "log"},
		{"log_filename", "postgresql-%Y-%m-%d_%H%M%S.log"},
		{"log_rotation_age", "1d"},
		{"log_rotation_size", "10MB"},
		{"log_timezone", "UTC"},
		{"log_error_verbosity", "terse"}, // details repeat what was said to an avatar
		{"log_parameter_max_length", "0"},
	}
	if runtime.GOOS == "linux" { // elsewhere some majors refuse any value but 0
		list = append(list, [2]string{"effective_io_concurrency", "16"})
	}
	if s.cfg.Ephemeral {
		return append(list, ephemeral...)
	}
	return append(list, durable()...)
}

var ephemeral = [][2]string{
	{"shared_buffers", "64MB"},
	{"max_wal_size", "256MB"},
	{"fsync", "off"},
	{"full_page_writes", "off"},
	{"synchronous_commit", "off"},
}

func durable() [][2]string {
	return [][2]string{
		{"shared_buffers", fmt.Sprintf("%dMB", sharedBuffersMB(memoryMB()))},
		{"max_wal_size", "4GB"},
		{"fsync", "on"},
		{"full_page_writes", "on"},
		{"synchronous_commit", "on"},
	}
}

// hba lets everyone in who can reach the socket, for its directory is private,
// and over TCP rapport_reader with its password.
func hba(listen bool) string {
	var b strings.Builder
	b.WriteString("# Rapport writes this file at every start.\n")
	b.WriteString("local all all trust\n")
	if listen {
		for _, network := range []string{"0.0.0.0/0", "::/0"} {
			fmt.Fprintf(&b, "host %s %s %s scram-sha-256\n", database, roleReader, network)
		}
	}
	return b.String()
}

// quote makes a string of Postgres's configuration files.
func quote(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`, "\n", `\n`).Replace(value) + "'"
}

// readerPassword is made once and kept.
func readerPassword(dir string) (string, error) {
	path := filepath.Join(dir, "reader.password")
	content, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(content)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("the password of %s: %w", roleReader, err)
	}
	password := rand.Text()
	if err := replaceFile(path, password+"\n", 0o600); err != nil {
		return "", fmt.Errorf("the password of %s: %w", roleReader, err)
	}
	return password, nil
}
