package verify

// Spool is what a server's spool has on its disk. Its records are numbered from 1;
// numbers of writes that failed belong to no record.
type Spool struct {
	ID      string
	Kept    uint64 // number of the last record that was kept before the first one that is there; 0 if there is none
	Last    uint64 // number of the last record that is there
	Records int64  // that are there
	Lost    int64  // known to be lost by damage
	Damaged int    // segments that were set aside
}

// waiting is how many records are neither in the log nor in the quarantine. What
// has been drained may still lie there.
func (s *Spool) waiting(drainedTo uint64) int64 {
	if s.Records == 0 || s.Last <= drainedTo {
		return 0
	}
	return min(s.Records, int64(s.Last-drainedTo))
}

// drainedTo is what the database knows of a spool; 0 if nothing.
func (v *verifier) drainedTo(s *Spool) uint64 { return uint64(max(0, v.recorded.Spools[s.ID])) }

func (v *verifier) checkSpools() {
	for _, s := range v.Spools {
		if drained := v.drainedTo(&s); s.Records > 0 && s.Kept > drained {
			v.report.add("spool", "spool %s was drained up to record %d, but its next ones up to %d are missing",
				name(s.ID), drained, s.Kept)
		}
		if s.Lost > 0 {
			v.report.add("spool", "spool %s has lost %d records by damage", name(s.ID), s.Lost)
		}
		if s.Damaged > 0 {
			v.report.add("spool", "spool %s has %d damaged segments: what could not be read of them is not in the log",
				name(s.ID), s.Damaged)
		}
	}
}

func (v *verifier) checkQuarantine() {
	for _, wrong := range v.recorded.Wrong {
		if wrong.OtherBody {
			v.report.add("quarantine", "quarantine entry %d: body_sha256 is not its body's", wrong.ID)
		}
		if wrong.NeverSeen {
			v.report.add("quarantine", "quarantine entry %d: seen_count is below 1", wrong.ID)
		}
		if wrong.SeenBackwards {
			v.report.add("quarantine", "quarantine entry %d: last_seen_at is before first_seen_at", wrong.ID)
		}
	}
	if v.recorded.Tally == nil {
		v.report.add("quarantine", "quarantine_tally has no row")
		return
	}
	t, seen := *v.recorded.Tally, v.recorded.Quarantine.Seen
	if t.Received != seen+t.Pruned+t.Replayed+t.Erased {
		v.report.add("quarantine", "the quarantine received %d deliveries, but %d are there, %d were pruned, %d replayed and %d erased",
			t.Received, seen, t.Pruned, t.Replayed, t.Erased)
	}
	if t.Pruned < 0 || t.Replayed < 0 || t.Erased < 0 {
		v.report.add("quarantine", "quarantine_tally says that %d deliveries were pruned, %d replayed and %d erased", t.Pruned, t.Replayed, t.Erased)
	}
}
