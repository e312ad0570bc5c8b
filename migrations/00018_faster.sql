-- Percentiles and searches, faster. Their answers are the same.

-- +goose Up

-- What percentiles are made of: the histograms alone. An edge of a bucket that is
-- nearer to the end of an hour, or of a day, than to its begin is reached from there: the
-- rows between are taken away. So a day of a place off UTC is three rows, not 24. Nothing
-- starts before 2015, nor after the year 3000. OFFSET 0 has each step computed once, not
-- again in each that is made of it, and each piece looked up in the index.
-- +goose StatementBegin
CREATE FUNCTION bucket_histograms(begins timestamptz[], ends timestamptz[], agent text, each_agent boolean)
RETURNS TABLE (
    bucket integer, agent_id text, sign integer,
    duration_bins smallint[], duration_counts bigint[], response_bins smallint[], response_counts bigint[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    origin  CONSTANT timestamptz := '2015-01-01 00:00:00+00';
    horizon CONSTANT timestamptz := '3000-01-01 00:00:00+00';
BEGIN
    RETURN QUERY
    WITH piece AS (
        SELECT b.bucket, p.grain, least(p.start, p.stop) AS since, greatest(p.start, p.stop) AS until,
               CASE WHEN p.start < p.stop THEN 1 ELSE -1 END AS sign
        FROM (SELECT u.bucket, least(greatest(u.since, origin), horizon) AS since, least(greatest(u.until, origin), horizon) AS until
              FROM unnest($1, $2) WITH ORDINALITY u (since, until, bucket) OFFSET 0) b
        CROSS JOIN LATERAL (SELECT least(date_bin('15 min', b.since + interval '15 min -1 us', origin), b.until) AS begins OFFSET 0) q
        CROSS JOIN LATERAL (SELECT greatest(date_bin('15 min', b.until, origin), q.begins) AS ends OFFSET 0) r
        CROSS JOIN LATERAL (SELECT date_bin('1 hour', q.begins + interval '30 min', origin) AS begins,
                                   date_bin('1 hour', r.ends + interval '30 min', origin) AS ends OFFSET 0) g
        CROSS JOIN LATERAL (SELECT (g.ends - g.begins) / 4 + greatest(g.begins - q.begins, q.begins - g.begins)
                                   + greatest(g.ends - r.ends, r.ends - g.ends) < r.ends - q.begins AS fewer OFFSET 0) f
        CROSS JOIN LATERAL (SELECT CASE WHEN f.fewer THEN g.begins ELSE q.begins END AS begins,
                                   CASE WHEN f.fewer THEN g.ends ELSE q.begins END AS ends OFFSET 0) h
        CROSS JOIN LATERAL (SELECT date_bin('1 day', h.begins + interval '12 hours', origin) AS begins,
                                   date_bin('1 day', h.ends + interval '12 hours', origin) AS ends OFFSET 0) e
        CROSS JOIN LATERAL (SELECT (e.ends - e.begins) / 24 + greatest(e.begins - h.begins, h.begins - e.begins)
                                   + greatest(e.ends - h.ends, h.ends - e.ends) < h.ends - h.begins AS fewer OFFSET 0) i
        CROSS JOIN LATERAL (SELECT CASE WHEN i.fewer THEN e.begins ELSE h.begins END AS begins,
                                   CASE WHEN i.fewer THEN e.ends ELSE h.begins END AS ends OFFSET 0) d
        CROSS JOIN LATERAL (VALUES
            (0, b.since, q.begins), (15, q.begins, h.begins), (60, h.begins, d.begins), (1440, d.begins, d.ends),
            (60, d.ends, h.ends), (15, h.ends, r.ends), (0, r.ends, b.until)) p (grain, start, stop)
        WHERE p.start <> p.stop
    )
    SELECT p.bucket::integer, s.agent_id, p.sign, s.duration_bins, s.duration_counts, s.response_bins, s.response_counts
    FROM piece p CROSS JOIN LATERAL (
        SELECT w.agent_id, w.duration_bins, w.duration_counts, w.response_bins, w.response_counts
        FROM public.single_totals w
        WHERE w.started_at >= p.since AND w.started_at < p.until AND ($3 IS NULL OR w.agent_id = $3)
        OFFSET 0
    ) s
    WHERE p.grain = 0
    UNION ALL
    SELECT p.bucket::integer, s.agent_id, p.sign, s.duration_bins, s.duration_counts, s.response_bins, s.response_counts
    FROM piece p CROSS JOIN LATERAL (
        SELECT t.agent_id, t.duration_bins, t.duration_counts, t.response_bins, t.response_counts
        FROM public.current_session_totals t
        WHERE t.grain = p.grain AND t.of_all = ($3 IS NULL AND NOT $4) AND ($3 IS NULL OR t.agent_id = $3)
          AND t.starts_at >= p.since AND t.starts_at < p.until
        OFFSET 0
    ) s
    WHERE p.grain > 0;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION bucket_histograms IS 'Histograms that together are those of the sessions that started within each bucket: where sign is -1, they are taken away.';

-- A loop is several times as fast as a sum over the rows of unnest.
-- +goose StatementBegin
CREATE FUNCTION histogram_quantile(bins smallint[], counts bigint[], part numeric) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n      bigint;
    seen   bigint := 0;
    wanted bigint;
    place  integer := 0;
    halved integer;
BEGIN
    FOREACH n IN ARRAY counts LOOP
        seen := seen + n;
    END LOOP;
    wanted := ceil(part * seen);
    seen := 0;
    FOREACH n IN ARRAY counts LOOP
        place := place + 1;
        seen := seen + n;
        EXIT WHEN seen >= wanted;
    END LOOP;
    halved := greatest(0, bins[place] / 64 - 1);
    RETURN ((bins[place] - 64 * halved)::bigint << halved) + ((1::bigint << halved) >> 1);
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION histogram_quantile IS 'The least value of a histogram of session_totals that at least a part (0 to 1) of all values does not exceed: the middle of the bin where it lies. Null if it is empty.';

-- As before, but for how percentiles are found.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION metric_values(wanted text[], begins timestamptz[], ends timestamptz[], keys text[], agent text)
RETURNS TABLE (key text, metric text, value numeric)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    percentiles CONSTANT text[] := ARRAY['p50_duration_s', 'p95_duration_s', 'p50_response_s', 'p95_response_s'];
BEGIN
    IF EXISTS (SELECT FROM unnest($1) u (metric) WHERE u.metric IS NULL OR u.metric NOT IN (SELECT m.metric FROM analytics.metrics m)) THEN
        RAISE EXCEPTION 'metric must be one of those in analytics.metrics' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'SELECT * FROM analytics.metrics';
    END IF;
    IF NOT $1 <@ percentiles THEN
        RETURN QUERY
        SELECT s.key, s.metric, CASE WHEN s.decimals = 0 THEN s.num ELSE round(s.num / nullif(s.den, 0), s.decimals) END
        FROM (
            SELECT CASE WHEN $4 IS NULL THEN t.agent_id ELSE $4[t.bucket] END AS key, v.metric, v.decimals, sum(v.num) AS num, sum(v.den) AS den
            FROM public.bucket_totals($2, $3, $5, $4 IS NULL) t
            CROSS JOIN LATERAL (VALUES
                ('sessions', t.sessions, 1, 0), ('engaged_sessions', t.sessions - t.bounced, 1, 0), ('bounce_rate', t.bounced, t.sessions, 4),
                ('bounced', t.bounced, 1, 0), ('engaged', t.engaged, 1, 0), ('continued', t.continued, 1, 0), ('deep', t.deep, 1, 0),
                ('messages', t.messages, 1, 0), ('user_messages', t.user_messages, 1, 0), ('agent_messages', t.agent_messages, 1, 0),
                ('turns', t.turns, 1, 0), ('answered_turns', t.answered_turns, 1, 0),
                ('avg_duration_s', t.duration_ms, 1000 * t.sessions, 3), ('avg_active_s', t.active_ms, 1000 * t.sessions, 3),
                ('avg_messages', t.messages, t.sessions, 3), ('avg_turns', t.turns, t.sessions, 3),
                ('avg_response_s', t.response_ms, 1000 * t.answered_turns, 3), ('answer_rate', t.answered_turns, t.turns, 4),
                ('quick_answer_rate', t.quick_answers, t.answered_turns, 4), ('repeat_rate', t.repeats, t.user_messages, 4),
                ('friction_rate', t.friction, t.user_messages, 4), ('avg_engagement', t.engagement_tenths, 10 * t.sessions, 3),
                ('avg_quality', t.quality_tenths, 10 * t.judged, 3), ('avg_sentiment', t.sentiment_thousandths, 1000 * t.felt, 3),
                ('avg_rating', t.rating_thousandths, 1000 * t.rated, 3), ('errors', t.errors, 1, 0), ('error_rate', t.errors, t.sessions, 4)
            ) v (metric, num, den, decimals)
            WHERE v.metric = ANY($1)
            GROUP BY 1, 2, 3
        ) s;
    END IF;
    IF NOT $1 && percentiles THEN
        RETURN;
    END IF;
    -- Where a key has one row, that is its histogram.
    RETURN QUERY
    WITH part AS MATERIALIZED (
        SELECT r.*, count(*) OVER (PARTITION BY r.key, r.of) > 1 OR r.sign < 0 AS among_others
        FROM (
            SELECT CASE WHEN $4 IS NULL THEN t.agent_id ELSE $4[t.bucket] END AS key, v.of, t.sign, v.bins, v.counts
            FROM public.bucket_histograms($2, $3, $5, $4 IS NULL) t
            CROSS JOIN LATERAL (VALUES
                ('duration', t.duration_bins, t.duration_counts), ('response', t.response_bins, t.response_counts)
            ) v (of, bins, counts)
            WHERE $1 && ARRAY['p50_' || v.of || '_s', 'p95_' || v.of || '_s'] AND cardinality(v.bins) > 0
        ) r
    ), whole AS (
        SELECT p.key, p.of, p.bins, p.counts FROM part p WHERE NOT p.among_others
        UNION ALL
        SELECT s.key, s.of, array_agg(s.bin ORDER BY s.bin), array_agg(s.n ORDER BY s.bin)
        FROM (
            SELECT u.key, u.of, u.bin, sum(u.n)::bigint AS n
            FROM (SELECT p.key, p.of, unnest(p.bins) AS bin, p.sign * unnest(p.counts) AS n FROM part p WHERE p.among_others) u
            GROUP BY u.key, u.of, u.bin
            HAVING sum(u.n) <> 0
        ) s
        GROUP BY s.key, s.of
    )
    SELECT w.key, m.metric, round(public.histogram_quantile(w.bins, w.counts, m.part) / 1000.0, 3)
    FROM whole w
    JOIN (VALUES ('p50_duration_s', 'duration', 0.5), ('p95_duration_s', 'duration', 0.95), ('p50_response_s', 'response', 0.5),
                 ('p95_response_s', 'response', 0.95)) m (metric, of, part) ON m.of = w.of
    WHERE m.metric = ANY($1);
END $$;
-- +goose StatementEnd

-- What search_block did, which older servers call, and for several blocks at once.
-- The plan is fixed: the index alone decides what is looked at. Several conditions, and
-- not one, so that the index passes over stretches that any one of them excludes. What
-- few messages have comes first, for the index looks the others up for each that it
-- finds; so none is there that says nothing new.
-- The + 0 keeps the planner from the index on positions.
-- +goose StatementBegin
CREATE FUNCTION search_blocks(
    query tsquery, size integer, first bigint, last bigint, agents text[], role text, times text[],
    since timestamptz, until timestamptz, up_to bigint, enough integer, max_rows integer,
    OUT seen bigint, OUT positions bigint[]
) LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_indexscan = off SET enable_indexonlyscan = off SET max_parallel_workers_per_gather = 0 AS $$
DECLARE
    place tsquery := public.search_any(ARRAY(SELECT chr(1) || chr(98 + size / 4) || to_hex(b) FROM generate_series(first, last) b));
    scope tsquery;
    part  tsquery;
BEGIN
    FOREACH part IN ARRAY ARRAY[
        CASE WHEN agents <> '{}' THEN public.search_any(ARRAY(SELECT public.search_mark('a', a.id) FROM unnest(agents) a (id))) END,
        CASE WHEN role <> '' THEN public.search_any(ARRAY[public.search_mark('r', role)]) END,
        CASE WHEN times <> '{}' THEN public.search_any(ARRAY(SELECT chr(1) || t.mark FROM unnest(times) t (mark))) END
    ] LOOP
        scope := coalesce(scope && part, scope, part);
    END LOOP;
    EXECUTE '
        WITH found AS MATERIALIZED (
            SELECT m.position FROM public.message_search m
            WHERE ' || CASE WHEN query IS NOT NULL THEN 'm.words @@ $1 AND ' ELSE '' END
            || CASE WHEN scope IS NOT NULL THEN 'm.words @@ $2 AND ' ELSE '' END || 'm.words @@ $3
              AND m.position + 0 <= $4 AND m.occurred_at >= $5 AND m.occurred_at < $6
            LIMIT $7
        )
        SELECT count(*), coalesce((array_agg(f.position ORDER BY f.position DESC))[1:$8], ''{}'') FROM found f'
    INTO seen, positions USING query, scope, place, up_to, since, until, enough, max_rows;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION search_blocks IS 'Searches the blocks from the first to the last one, of 2^size positions each, up to a position. Tells how many messages it has seen, and the last positions of these: of enough there may be more, and others.';

-- +goose Down
DROP FUNCTION search_blocks;

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION metric_values(wanted text[], begins timestamptz[], ends timestamptz[], keys text[], agent text)
RETURNS TABLE (key text, metric text, value numeric)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off AS $$
#variable_conflict use_column
BEGIN
    IF EXISTS (SELECT FROM unnest($1) u (metric) WHERE u.metric IS NULL OR u.metric NOT IN (SELECT m.metric FROM analytics.metrics m)) THEN
        RAISE EXCEPTION 'metric must be one of those in analytics.metrics' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'SELECT * FROM analytics.metrics';
    END IF;
    RETURN QUERY
    SELECT s.key, s.metric, CASE WHEN s.decimals = 0 THEN s.num ELSE round(s.num / nullif(s.den, 0), s.decimals) END
    FROM (
        SELECT CASE WHEN $4 IS NULL THEN t.agent_id ELSE $4[t.bucket] END AS key, v.metric, v.decimals, sum(v.num) AS num, sum(v.den) AS den
        FROM public.bucket_totals($2, $3, $5, $4 IS NULL) t
        CROSS JOIN LATERAL (VALUES
            ('sessions', t.sessions, 1, 0), ('engaged_sessions', t.sessions - t.bounced, 1, 0), ('bounce_rate', t.bounced, t.sessions, 4),
            ('bounced', t.bounced, 1, 0), ('engaged', t.engaged, 1, 0), ('continued', t.continued, 1, 0), ('deep', t.deep, 1, 0),
            ('messages', t.messages, 1, 0), ('user_messages', t.user_messages, 1, 0), ('agent_messages', t.agent_messages, 1, 0),
            ('turns', t.turns, 1, 0), ('answered_turns', t.answered_turns, 1, 0),
            ('avg_duration_s', t.duration_ms, 1000 * t.sessions, 3), ('avg_active_s', t.active_ms, 1000 * t.sessions, 3),
            ('avg_messages', t.messages, t.sessions, 3), ('avg_turns', t.turns, t.sessions, 3),
            ('avg_response_s', t.response_ms, 1000 * t.answered_turns, 3), ('answer_rate', t.answered_turns, t.turns, 4),
            ('quick_answer_rate', t.quick_answers, t.answered_turns, 4), ('repeat_rate', t.repeats, t.user_messages, 4),
            ('friction_rate', t.friction, t.user_messages, 4), ('avg_engagement', t.engagement_tenths, 10 * t.sessions, 3),
            ('avg_quality', t.quality_tenths, 10 * t.judged, 3), ('avg_sentiment', t.sentiment_thousandths, 1000 * t.felt, 3),
            ('avg_rating', t.rating_thousandths, 1000 * t.rated, 3), ('errors', t.errors, 1, 0), ('error_rate', t.errors, t.sessions, 4)
        ) v (metric, num, den, decimals)
        WHERE v.metric = ANY($1)
        GROUP BY 1, 2, 3
    ) s;

    IF NOT $1 && ARRAY['p50_duration_s', 'p95_duration_s', 'p50_response_s', 'p95_response_s'] THEN
        RETURN;
    END IF;
    -- The least value that at least the part q of all values does not exceed: the
    -- middle of the bin where it lies.
    RETURN QUERY
    SELECT q.key, q.metric, round(((q.bin - 64 * q.halved) * 2::numeric ^ q.halved + trunc(2::numeric ^ q.halved / 2)) / 1000, 3)
    FROM (
        SELECT DISTINCT ON (h.key, w.metric) h.key, w.metric, h.bin, greatest(0, h.bin / 64 - 1) AS halved
        FROM (
            SELECT b.*, sum(b.n) OVER (PARTITION BY b.key, b.of ORDER BY b.bin) AS seen, sum(b.n) OVER (PARTITION BY b.key, b.of) AS total
            FROM (
                SELECT CASE WHEN $4 IS NULL THEN t.agent_id ELSE $4[t.bucket] END AS key, u.of, u.bin, sum(u.n) AS n
                FROM public.bucket_totals($2, $3, $5, $4 IS NULL) t
                CROSS JOIN LATERAL (
                    SELECT 'duration', d.bin, d.n FROM unnest(t.duration_bins, t.duration_counts) d (bin, n)
                    WHERE $1 && ARRAY['p50_duration_s', 'p95_duration_s']
                    UNION ALL
                    SELECT 'response', d.bin, d.n FROM unnest(t.response_bins, t.response_counts) d (bin, n)
                    WHERE $1 && ARRAY['p50_response_s', 'p95_response_s']
                ) u (of, bin, n)
                GROUP BY 1, 2, 3
            ) b
        ) h
        JOIN (VALUES ('p50_duration_s', 'duration', 0.5), ('p95_duration_s', 'duration', 0.95), ('p50_response_s', 'response', 0.5),
                     ('p95_response_s', 'response', 0.95)) w (metric, of, part) ON w.of = h.of
        WHERE w.metric = ANY($1) AND h.seen >= ceil(w.part * h.total)
        ORDER BY h.key, w.metric, h.bin
    ) q;
END $$;
-- +goose StatementEnd

DROP FUNCTION bucket_histograms, histogram_quantile;
