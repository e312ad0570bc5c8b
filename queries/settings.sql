-- The rules of the rollups.

-- name: SettingsGet :one
SELECT idle_timeout_s, active_gap_cap_s, quick_answer_s, frustration_words, frustration_sentiment, score_version
FROM settings;

-- name: SettingsInit :exec
-- Only a new database takes them.
INSERT INTO settings (idle_timeout_s, active_gap_cap_s, quick_answer_s, frustration_words, frustration_sentiment, score_version)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING;
