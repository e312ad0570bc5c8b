-- Indexes of the lists that people page through. Each is written for every session
-- that changes, so there is none for the other orders of a list: those read all
-- sessions of the range that is asked for.

-- +goose Up

-- A visitor's sessions. Of visitors without an id nobody asks that way.
CREATE INDEX sessions_user_idx ON sessions (user_id, started_at DESC, agent_id, session_id) WHERE user_id <> '';

-- Where something happened last.
CREATE INDEX sessions_last_activity_idx ON sessions (last_activity_at DESC, agent_id, session_id, started_at);

-- +goose Down
DROP INDEX sessions_user_idx, sessions_last_activity_idx;
