-- The views that people and BI tools read: an interface, documented here.

-- +goose Up

CREATE SCHEMA analytics;
COMMENT ON SCHEMA analytics IS 'Rapport''s public tables: conversations with avatars.';

CREATE VIEW analytics.events AS
SELECT position, occurred_at, received_at, undated, event_type, agent_id, session_id, user_id, role, message,
       message_type, language, participants, room_name, error_code, error_severity, error_category, end_reason,
       rating, fingerprint, payload, payload_raw
FROM public.events;

CREATE VIEW analytics.sessions AS
SELECT agent_id, session_id, started_at, last_activity_at, closes_at,
       CASE WHEN closes_at <= now() THEN 'closed' ELSE 'open' END AS status,
       CASE WHEN closes_at > now() THEN NULL WHEN end_count > 0 THEN end_reason ELSE 'idle' END AS end_reason,
       round(duration_ms / 1000.0, 3) AS duration_s,
       round((active_us / 1000) / 1000.0, 3) AS active_s,
       event_count, join_count, message_count, error_count, user_message_count, agent_message_count,
       user_char_count, agent_char_count, turn_count, answered_turn_count,
       CASE WHEN answered_turn_count > 0 THEN response_ms_total END AS response_ms_total,
       CASE WHEN answered_turn_count > 0 THEN response_ms_max END AS response_ms_max,
       CASE WHEN answered_turn_count > 0 THEN first_response_ms END AS first_response_ms,
       CASE WHEN answered_turn_count > 0
            THEN round(response_ms_total / (answered_turn_count * 1000.0), 3) END AS avg_response_s,
       quick_answer_count, repeat_count, friction_count,
       CASE WHEN user_message_count > 0
            THEN round(sentiment_sum / (user_message_count * 1000.0), 3) END AS sentiment,
       peak_participants, room_name, user_id, rating, engagement_tier,
       round(engagement_tenths / 10.0, 1) AS engagement_score,
       round(quality_tenths / 10.0, 1) AS quality_score,
       score_version, first_position, last_position
FROM public.sessions;

CREATE VIEW analytics.messages AS
SELECT e.position, e.agent_id, e.session_id, s.started_at, e.occurred_at, e.role, e.message AS text,
       char_length(e.message) AS char_count, e.message_type, e.language, e.user_id
FROM public.events e
LEFT JOIN LATERAL (
    SELECT w.started_at, w.last_event_at FROM public.sessions w
    WHERE w.session_id = e.session_id AND w.agent_id = e.agent_id AND w.started_at <= e.occurred_at
    ORDER BY w.started_at DESC LIMIT 1
) s ON s.last_event_at >= e.occurred_at
WHERE e.event_type = 'chat.push';

COMMENT ON VIEW analytics.events IS 'The event log, a row per event; append-only.';
COMMENT ON COLUMN analytics.events.position IS 'Place in the log, from 1, in commit order and without a gap.';
COMMENT ON COLUMN analytics.events.occurred_at IS 'When it happened, by the sender''s clock; received_at if the delivery carried no time.';
COMMENT ON COLUMN analytics.events.received_at IS 'When it was received, by the server''s clock.';
COMMENT ON COLUMN analytics.events.undated IS 'The delivery carried no time of its own.';
COMMENT ON COLUMN analytics.events.event_type IS 'room.join, chat.push, session.end, agent.error, or any other type as the sender named it.';
COMMENT ON COLUMN analytics.events.agent_id IS 'The agent; empty if absent.';
COMMENT ON COLUMN analytics.events.session_id IS 'The sender''s session; empty if absent: the event is then part of no session.';
COMMENT ON COLUMN analytics.events.user_id IS 'The visitor; empty if absent.';
COMMENT ON COLUMN analytics.events.role IS 'user, agent (also for assistant, bot and avatar), or any other role in lower case.';
COMMENT ON COLUMN analytics.events.message IS 'Text of a message; U+FFFD stands for what Postgres cannot hold.';
COMMENT ON COLUMN analytics.events.message_type IS 'text, audio or image; text if a message names none.';
COMMENT ON COLUMN analytics.events.language IS 'Language of a message, as told.';
COMMENT ON COLUMN analytics.events.participants IS 'Participants of the room as told; null if not told.';
COMMENT ON COLUMN analytics.events.room_name IS 'Name of the room, as told.';
COMMENT ON COLUMN analytics.events.error_code IS 'Code of an agent.error.';
COMMENT ON COLUMN analytics.events.error_severity IS 'Severity of an agent.error: low, medium, high or critical.';
COMMENT ON COLUMN analytics.events.error_category IS 'Category of an agent.error: audio, video, llm or network.';
COMMENT ON COLUMN analytics.events.end_reason IS 'Reason of a session.end, as told.';
COMMENT ON COLUMN analytics.events.rating IS 'The visitor''s satisfaction, as told; null if not told.';
COMMENT ON COLUMN analytics.events.fingerprint IS 'SHA-256 of what makes two deliveries the same event.';
COMMENT ON COLUMN analytics.events.payload IS 'The body as it came, to the byte; null where it is not valid UTF-8.';
COMMENT ON COLUMN analytics.events.payload_raw IS 'The body as it came where it is not valid UTF-8.';

COMMENT ON VIEW analytics.sessions IS 'A row per session: a visit''s messages, turns, engagement and quality.';
COMMENT ON COLUMN analytics.sessions.agent_id IS 'The agent.';
COMMENT ON COLUMN analytics.sessions.session_id IS 'The sender''s session; with agent_id and started_at the identity.';
COMMENT ON COLUMN analytics.sessions.started_at IS 'First occurred_at.';
COMMENT ON COLUMN analytics.sessions.last_activity_at IS 'Last occurred_at; a session.end is no activity.';
COMMENT ON COLUMN analytics.sessions.closes_at IS '30 idle minutes after last_activity_at, or the first session.end if that is earlier.';
COMMENT ON COLUMN analytics.sessions.status IS 'open or closed, now.';
COMMENT ON COLUMN analytics.sessions.end_reason IS 'Reason of the first session.end; idle for any other closed session; null while open.';
COMMENT ON COLUMN analytics.sessions.duration_s IS 'Seconds from started_at to last_activity_at.';
COMMENT ON COLUMN analytics.sessions.active_s IS 'Seconds; sum of the gaps between events, each at most 60 s.';
COMMENT ON COLUMN analytics.sessions.event_count IS 'All its events.';
COMMENT ON COLUMN analytics.sessions.join_count IS 'room.join events.';
COMMENT ON COLUMN analytics.sessions.message_count IS 'chat.push events.';
COMMENT ON COLUMN analytics.sessions.error_count IS 'agent.error events.';
COMMENT ON COLUMN analytics.sessions.user_message_count IS 'Messages of the user.';
COMMENT ON COLUMN analytics.sessions.agent_message_count IS 'Messages of the agent.';
COMMENT ON COLUMN analytics.sessions.user_char_count IS 'Unicode code points of the user''s messages.';
COMMENT ON COLUMN analytics.sessions.agent_char_count IS 'Unicode code points of the agent''s messages.';
COMMENT ON COLUMN analytics.sessions.turn_count IS 'Runs of neighbouring user messages.';
COMMENT ON COLUMN analytics.sessions.answered_turn_count IS 'Turns that an agent message follows.';
COMMENT ON COLUMN analytics.sessions.response_ms_total IS 'Milliseconds from the last user message of a turn to its answer, summed; null if none was answered.';
COMMENT ON COLUMN analytics.sessions.response_ms_max IS 'The longest response in milliseconds; null if none.';
COMMENT ON COLUMN analytics.sessions.first_response_ms IS 'The first response in milliseconds; null if none.';
COMMENT ON COLUMN analytics.sessions.avg_response_s IS 'Mean response in seconds; null if none.';
COMMENT ON COLUMN analytics.sessions.quick_answer_count IS 'Answered turns with a response within 3 s.';
COMMENT ON COLUMN analytics.sessions.repeat_count IS 'User messages that repeat an earlier one of the session.';
COMMENT ON COLUMN analytics.sessions.friction_count IS 'User messages with a frustration word or a sentiment of -0.5 or lower.';
COMMENT ON COLUMN analytics.sessions.sentiment IS 'Mean VADER compound of the user messages, -1 to 1; null if there are none.';
COMMENT ON COLUMN analytics.sessions.peak_participants IS 'Greatest number of participants told; 0 if never told.';
COMMENT ON COLUMN analytics.sessions.room_name IS 'First room name told.';
COMMENT ON COLUMN analytics.sessions.user_id IS 'First user id told.';
COMMENT ON COLUMN analytics.sessions.rating IS 'The last satisfaction told; null if never told.';
COMMENT ON COLUMN analytics.sessions.engagement_tier IS 'bounced (no user message), engaged (1 turn), continued (2 or 3) or deep (4 or more).';
COMMENT ON COLUMN analytics.sessions.engagement_score IS '0 to 100: half for up to 8 turns, 0.3 for up to 300 active seconds, 0.2 for a second turn.';
COMMENT ON COLUMN analytics.sessions.quality_score IS '0 to 100: 0.4 answered, 0.2 quick, 0.2 not repeated, 0.2 without friction; null without a user message.';
COMMENT ON COLUMN analytics.sessions.score_version IS 'Version of the two scores.';
COMMENT ON COLUMN analytics.sessions.first_position IS 'Least log position of its events.';
COMMENT ON COLUMN analytics.sessions.last_position IS 'Greatest log position of its events: the version of the row.';

COMMENT ON VIEW analytics.messages IS 'A row per message.';
COMMENT ON COLUMN analytics.messages.position IS 'Place in the log.';
COMMENT ON COLUMN analytics.messages.agent_id IS 'The agent.';
COMMENT ON COLUMN analytics.messages.session_id IS 'The sender''s session.';
COMMENT ON COLUMN analytics.messages.started_at IS 'started_at of the session it belongs to; null if it belongs to none, or is not folded yet.';
COMMENT ON COLUMN analytics.messages.occurred_at IS 'When it was said, by the sender''s clock.';
COMMENT ON COLUMN analytics.messages.role IS 'user, agent, or any other role in lower case.';
COMMENT ON COLUMN analytics.messages.text IS 'What was said.';
COMMENT ON COLUMN analytics.messages.char_count IS 'Unicode code points of the text.';
COMMENT ON COLUMN analytics.messages.message_type IS 'text, audio or image.';
COMMENT ON COLUMN analytics.messages.language IS 'Language, as told.';
COMMENT ON COLUMN analytics.messages.user_id IS 'The visitor; empty if absent.';

-- +goose Down
DROP SCHEMA analytics CASCADE;
