package embedpg

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sharedBuffersMB is an eighth of the memory, between 128 MB and 1 GB: Postgres
// shares the machine with Rapport and with the system's own file cache.
func sharedBuffersMB(memory int64) int64 {
	return min(max(memory/8, 128), 1024)
}

// memoryMB is the machine's memory, or what our control group leaves of it; 0 if
// the system does not tell (it is told on Linux).
func memoryMB() int64 {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	total := memTotalMB(string(info))
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return total
	}
	return min(total, groupLimitMB("/sys/fs/cgroup", string(groups)))
}

func memTotalMB(meminfo string) int64 {
	for line := range strings.Lines(meminfo) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kB, _ := strconv.ParseInt(fields[1], 10, 64)
			return kB / 1024
		}
	}
	return 0
}

// groupLimitMB is the least limit of the control group (version 2) and of those
// above it.
func groupLimitMB(root, groups string) int64 {
	limit := int64(math.MaxInt64)
	_, group, ok := strings.Cut(strings.TrimSpace(groups), "0::")
	if !ok {
		return limit
	}
	for dir := filepath.Join("/", group); ; dir = filepath.Dir(dir) {
		content, _ := os.ReadFile(filepath.Join(root, dir, "memory.max"))
		if bytes, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64); err == nil {
			limit = min(limit, bytes/(1<<20))
		}
		if dir == "/" {
			return limit
		}
	}
}
