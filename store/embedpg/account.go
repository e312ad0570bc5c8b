package embedpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user that Postgres runs as.
type account struct {
	name     string
	uid, gid int
	other    bool // another one than runs this process, which then is root
}

// chooseAccount is the user of this process, but for root, which Postgres
// refuses: then it is the owner of the cluster that exists, else postgres or
// nobody.
func chooseAccount(cluster string) (account, error) {
	if os.Geteuid() != 0 {
		return account{name: "uid " + strconv.Itoa(os.Geteuid()), uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	if uid, gid, err := owner(cluster); err == nil && uid != 0 {
		return account{name: userName(uid), uid: uid, gid: gid, other: true}, nil
	}
	return lookUpAccount("postgres", "nobody")
}

// lookUpAccount returns the first of the users that exists.
func lookUpAccount(names ...string) (account, error) {
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2); err != nil {
			return account{}, fmt.Errorf("user %s: %w", name, err)
		}
		return account{name: name, uid: uid, gid: gid, other: true}, nil
	}
	return account{}, fmt.Errorf("root can't run Postgres, and there is none of the users %q to run it as: run rapport as another user", names)
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(uid)
}

// owner does not follow a symbolic link.
func owner(path string) (uid, gid int, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, 0, err
	}
	stat := info.Sys().(*syscall.Stat_t)
	return int(stat.Uid), int(stat.Gid), nil
}

// command prepares a program of Postgres: as this account, in a process group of
// its own so that a terminal's Ctrl-C does not reach it before Rapport has
// drained, and with none of our environment but where to find programs and
// libraries: it may hold secrets, or PG… variables that would change what
// Postgres does.
func (a account) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C"}
	for _, name := range []string{"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return cmd
}

// own hands a file or directory over to the account.
func (a account) own(path string) error {
	if !a.other {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// admit sees to it that the account can enter the data directory. A data
// directory of ours is opened for passing through; its parents are not ours to
// open, so one that is closed is an error that names it.
func (a account) admit(ctx context.Context, dir string, bin binaries) error {
	if !a.other {
		return nil
	}
	if err := openForPassing(dir); err != nil {
		return err
	}
	if a.enters(ctx, dir, bin) == nil {
		return nil
	}
	for _, parent := range ancestors(dir) {
		if err := a.enters(ctx, parent, bin); errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("started by root, Postgres runs as user %s, who can't enter %s: run chmod o+x %s, or choose another data directory",
				a.name, parent, parent)
		} else if err != nil {
			return fmt.Errorf("running Postgres as user %s in %s: %w", a.name, parent, err)
		}
	}
	return nil
}

func openForPassing(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	uid, _, err := owner(dir)
	if err != nil || uid != os.Geteuid() || info.Mode()&0o001 != 0 {
		return err
	}
	return os.Chmod(dir, info.Mode().Perm()|0o011)
}

// enters tries it: a program is started in the directory as the account. So
// whatever the system goes by (modes, groups, access lists) is right.
func (a account) enters(ctx context.Context, dir string, bin binaries) error {
	cmd := a.command(ctx, bin.postgres(), "--version")
	cmd.Dir = dir
	return cmd.Run()
}

// ancestors are the directories from the root down to dir itself.
func ancestors(dir string) []string {
	if parent := filepath.Dir(dir); parent != dir {
		return append(ancestors(parent), dir)
	}
	return []string{dir}
}
