package main

import (
	"os"
	"os/user"
	"strconv"
)

// cliActor names who runs a command, for the audit.
func cliActor() string {
	if u, err := user.Current(); err == nil {
		return "cli:" + u.Username
	}
	return "cli:" + strconv.Itoa(os.Getuid())
}
