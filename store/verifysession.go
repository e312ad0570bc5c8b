package store

import (
	"reflect"
	"strings"
	"time"
	"unicode"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// StoredSession is a row of the rollups as it stands there.
type StoredSession struct{ row dbsqlc.Session }

// Key identifies the session.
func (s *StoredSession) Key() SessionKey {
	return SessionKey{Conversation{s.row.AgentID, s.row.SessionID}, s.row.StartedAt}
}

// EventCount is how many events it says to have.
func (s *StoredSession) EventCount() int64 { return s.row.EventCount }

// ColumnDifference is a column that holds another value than it should.
type ColumnDifference struct {
	Column         string
	Stored, Should any // nil for NULL
}

// Differences are the columns whose values are not those that are written for a
// session. All columns are compared, for a row is state as well as numbers.
func (s *StoredSession) Differences(session *rapport.Session, idleTimeout time.Duration) []ColumnDifference {
	should := sessionRow(session, idleTimeout)
	return rowDifferences(&s.row, &should)
}

// rowDifferences compares two rows of a table, column by column.
func rowDifferences[T any](row, should *T) []ColumnDifference {
	stored, wanted := reflect.ValueOf(row).Elem(), reflect.ValueOf(should).Elem()
	var differences []ColumnDifference
	for i := range stored.NumField() {
		a, b := valueOf(stored.Field(i)), valueOf(wanted.Field(i))
		if !sameValue(a, b) {
			name := columnName(stored.Type().Field(i).Name)
			differences = append(differences, ColumnDifference{Column: name, Stored: a, Should: b})
		}
	}
	return differences
}

func valueOf(field reflect.Value) any {
	if field.Kind() != reflect.Pointer {
		return field.Interface()
	}
	if field.IsNil() {
		return nil
	}
	return field.Elem().Interface()
}

func sameValue(a, b any) bool {
	if t, ok := a.(time.Time); ok {
		u, ok := b.(time.Time)
		return ok && t.Equal(u)
	}
	return reflect.DeepEqual(a, b)
}

// columnName is the column that sqlc named a field after: AgentID is agent_id.
func columnName(field string) string {
	var name strings.Builder
	small := false // the letter before is a small one
	for _, r := range field {
		if unicode.IsUpper(r) && small {
			name.WriteByte('_')
		}
		small = !unicode.IsUpper(r)
		name.WriteRune(unicode.ToLower(r))
	}
	return name.String()
}
