//go:build !linux

package chaos

import "fmt"

// Without /proc what was left by a killed server is not found.
func sweep(string) {}

func childrenOf(int) []int { return nil }

func residentBytes(int) int64 { return 0 }

func mountSmallDisk(string, int) error { return fmt.Errorf("%w: a small disk takes Linux", errNotHere) }
