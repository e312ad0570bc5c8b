package verify

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"time"

	"rapport"
	"rapport/store"
)

// rollups reads the stored sessions and their texts beside those that are folded
// from the log, all in the order of their keys.
type rollups struct {
	report      *Report
	idleTimeout time.Duration
	sessions    *store.Stream[*store.StoredSession]
	texts       *store.Stream[*store.SessionText]
	session     *store.StoredSession // the next one; nil behind the last
	text        *store.SessionText   // the next one; nil behind the last

	// Sessions that began before frozen are not compared: what they were folded from
	// may be gone. Those before texts have no texts any more.
	frozen, textless time.Time
}

func (v *verifier) openRollups() (*rollups, error) {
	retained := &v.recorded.Retained
	r := &rollups{
		report: v.report, idleTimeout: v.recorded.Settings.IdleTimeout, sessions: v.sessions, texts: v.texts,
		frozen: retained.Horizon.Frozen(), textless: retained.TextsBefore,
	}
	return r, errors.Join(r.nextSession(), r.nextText())
}

func (r *rollups) nextSession() error {
	for {
		row, ok, err := r.sessions.Next()
		r.session = row
		if !ok {
			return err
		}
		r.report.Sessions++
		if !row.Key().StartedAt.Before(r.frozen) {
			return nil
		}
	}
}

func (r *rollups) nextText() error {
	for {
		row, ok, err := r.texts.Next()
		r.text = row
		if !ok {
			return err
		}
		r.report.Texts++
		if row.Key.StartedAt.Before(r.textless) {
			r.report.add("text", "%s: session_texts has %x, though its texts are gone", session(row.Key), row.Hash)
		}
		if !row.Key.StartedAt.Before(r.frozen) {
			return nil
		}
	}
}

// compareAll compares the next sessions, those that were erased and the others. Of one
// conversation the erased ones come first.
func (r *rollups) compareAll(graves []*grave, windows []*rapport.Window) error {
	for len(graves)+len(windows) > 0 {
		if len(windows) == 0 || len(graves) > 0 && (store.SessionKey{Conversation: graves[0].of}).Compare(store.KeyOf(&windows[0].Session)) < 0 {
			if err := r.compareGrave(graves[0]); err != nil {
				return err
			}
			graves = graves[1:]
			continue
		}
		if err := r.compare(windows[0]); err != nil {
			return err
		}
		windows = windows[1:]
	}
	return nil
}

// compare compares the next session of the log.
func (r *rollups) compare(w *rapport.Window) error {
	if err := r.compareSession(&w.Session); err != nil {
		return err
	}
	key := store.KeyOf(&w.Session)
	hashes := w.Added()
	slices.SortFunc(hashes, func(a, b rapport.TextHash) int { return bytes.Compare(a[:], b[:]) })
	for _, hash := range hashes {
		if err := r.compareText(&store.SessionText{Key: key, Hash: hash[:]}); err != nil {
			return err
		}
	}
	return nil
}

func (r *rollups) compareSession(s *rapport.Session) error {
	key := store.KeyOf(s)
	for r.session != nil && r.session.Key().Compare(key) < 0 {
		if err := r.extraSession(); err != nil {
			return err
		}
	}
	if r.session == nil || r.session.Key().Compare(key) > 0 {
		r.report.add("session", "%s: is missing, the log has %d events of it", session(key), s.EventCount)
		return nil
	}
	for _, d := range r.session.Differences(s, r.idleTimeout) {
		r.report.add("session", "%s: %s is %s, the log says %s", session(key), d.Column, show(d.Stored), show(d.Should))
	}
	return r.nextSession()
}

func (r *rollups) extraSession() error {
	r.report.add("session", "%s: has %d events, the log knows no such session", session(r.session.Key()), r.session.EventCount())
	return r.nextSession()
}

func (r *rollups) compareText(t *store.SessionText) error {
	for r.text != nil && compareTexts(r.text, t) < 0 {
		if err := r.extraText(); err != nil {
			return err
		}
	}
	if r.text == nil || compareTexts(r.text, t) > 0 {
		r.report.add("text", "%s: session_texts lacks %x, which its user has said", session(t.Key), t.Hash)
		return nil
	}
	return r.nextText()
}

func (r *rollups) extraText() error {
	r.report.add("text", "%s: session_texts has %x, which its user has not said", session(r.text.Key), r.text.Hash)
	return r.nextText()
}

func compareTexts(a, b *store.SessionText) int {
	return cmp.Or(a.Key.Compare(b.Key), bytes.Compare(a.Hash, b.Hash))
}

// end is behind the last session of the log: whatever is left is too much.
func (r *rollups) end() error {
	for r.session != nil {
		if err := r.extraSession(); err != nil {
			return err
		}
	}
	for r.text != nil {
		if err := r.extraText(); err != nil {
			return err
		}
	}
	return nil
}
