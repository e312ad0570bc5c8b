package verify

import (
	"rapport/store"
)

// checkSearch proves that exactly the messages that are not erased can be found, as far
// as the search has come.
func (v *verifier) checkSearch() error {
	follower := v.recorded.Search.Follower
	switch {
	case follower == nil:
		v.report.add("follower", "followers has no row %s", name(store.SearchFollower))
		return nil
	case follower.Position < 0 || follower.Position > v.head.Position:
		v.report.add("follower", "follower %s is at position %d, the log's head at %d",
			name(store.SearchFollower), follower.Position, v.head.Position)
	}
	for {
		row, ok, err := v.searchable.Next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		switch {
		case row.OtherDay:
			v.report.add("search", "message_search has message %d with another occurred_at", row.Position)
		case !row.Has && !row.Frozen:
			v.report.add("search", "message_search lacks message %d: it can't be found", row.Position)
		}
		if row.Has {
			v.report.Counts.Searchable++
		}
	}
	if strays := v.recorded.Search.Rows - v.report.Counts.Searchable; strays != 0 {
		v.report.add("search", "message_search has %d rows of what is no message, erased, or ahead of the search", strays)
	}
	return nil
}
