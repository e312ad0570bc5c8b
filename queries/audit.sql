-- Who did what.

-- name: AuditInsert :exec
INSERT INTO audit (actor, action, subject, details) VALUES (@actor, @action, @subject, @details::jsonb);

-- name: AuditList :many
-- The newest first, before an entry; an empty action is any.
SELECT id, at, actor, action, subject, details FROM audit
WHERE id < @before AND (@action::text = '' OR action = @action)
ORDER BY id DESC
LIMIT @max_entries;
