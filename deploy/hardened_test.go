package deploy

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTheContainersCanDoLittle(t *testing.T) {
	t.Parallel()
	for name, service := range mustLoad(t, "metabase").Services {
		if service.Privileged || len(service.CapAdd) > 0 || !slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may do more than it needs", name)
		}
		if name == "postgres" {
			continue // it begins as root, to own its volume
		}
		if !service.ReadOnly || !slices.Equal(service.CapDrop, []string{"ALL"}) {
			t.Errorf("%s: the root file system is read-only, and there is no capability", name)
		}
		if user, _, _ := strings.Cut(service.User, ":"); user == "" || user == "0" || user == "root" {
			t.Errorf("%s runs as %q", name, user)
		}
	}
}

func TestTheImageIsTheBinaryAndRunsAsNobody(t *testing.T) {
	t.Parallel()
	stages := instructions(t, "../Dockerfile", "FROM")
	if last := stages[len(stages)-1]; !strings.HasPrefix(last, "gcr.io/distroless/static") && last != "scratch" {
		t.Errorf("the image has more than it needs: %s", last)
	}
	if users := instructions(t, "../Dockerfile", "USER"); len(users) == 0 || strings.HasPrefix(users[len(users)-1], "root") || strings.HasPrefix(users[len(users)-1], "0") {
		t.Errorf("it runs as %q", users)
	}
	for _, env := range append(instructions(t, "../Dockerfile", "ENV"), instructions(t, "../Dockerfile", "ARG")...) {
		if strings.Contains(env, "SECRET") || strings.Contains(env, "TOKEN") || strings.Contains(env, "PASSWORD") {
			t.Errorf("a secret would stay in the image: %s", env)
		}
	}
}

// instructions are the arguments of one kind of instruction of a Dockerfile, in order.
func instructions(t *testing.T, path, kind string) (found []string) {
	t.Helper()
	for _, line := range lines(t, path) {
		if rest, ok := strings.CutPrefix(line, kind+" "); ok {
			found = append(found, strings.TrimSpace(rest))
		}
	}
	return found
}

func lines(t *testing.T, path string) (all []string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		all = append(all, scanner.Text())
	}
	return all
}

func TestTheServiceCanDoLittle(t *testing.T) {
	t.Parallel()
	unit := lines(t, "systemd/rapport.service")
	for _, wanted := range []string{
		"User=rapport", "CapabilityBoundingSet=", "NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes",
		"ProtectKernelTunables=yes", "ProtectKernelModules=yes", "ProtectControlGroups=yes", "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
		"RestrictNamespaces=yes", "RestrictSUIDSGID=yes", "LockPersonality=yes", "MemoryDenyWriteExecute=yes", "SystemCallArchitectures=native",
		"SystemCallFilter=@system-service", "SystemCallFilter=~@privileged", "StateDirectory=rapport", "UMask=0077",
		"KillMode=mixed", // else systemd would end its Postgres before it has drained
	} {
		if !slices.Contains(unit, wanted) {
			t.Errorf("it lacks %s", wanted)
		}
	}
	for _, line := range unit {
		name, value, _ := strings.Cut(strings.TrimPrefix(line, "Environment="), "=")
		isSecret := strings.Contains(name, "SECRET") || strings.Contains(name, "TOKEN") || strings.Contains(name, "URL")
		if strings.HasPrefix(line, "Environment=") && isSecret && !(strings.HasSuffix(name, "_FILE") && strings.HasPrefix(value, "%d/")) {
			t.Errorf("a secret is no credential: %s", line)
		}
		if credential, ok := strings.CutPrefix(value, "%d/"); ok && !slices.ContainsFunc(unit, func(l string) bool { return strings.HasPrefix(l, "LoadCredential="+credential+":") }) {
			t.Errorf("nobody loads the credential %s", credential)
		}
	}
}

// Where systemd's own judge is installed, it judges too.
func TestSystemdItselfFindsNoFault(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return // TestTheServiceCanDoLittle reads the unit everywhere
	}
	unit := strings.Join(lines(t, "systemd/rapport.service"), "\n") + "\n"
	path := filepath.Join(t.TempDir(), "rapport.service")
	// It looks for the program, which is not installed where it is tested.
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(unit, "/usr/local/bin/rapport serve", "/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), "rapport.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// The exposure is a tenth of what is printed: 0 is none, 100 all.
	out, err = exec.Command(analyze, "security", "--offline=true", "--threshold=20", "--no-pager", path).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}
