-- Run by the owner after each migration; repeating it changes nothing.
-- Roles belong to the whole cluster, so another database may have made them,
-- or be making them now. Where the owner may not create roles, an administrator
-- does, and `rapport migrate` then grants what they need.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['rapport_server', 'rapport_reader', 'rapport_eraser', 'rapport_sql'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = wanted);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE WARNING 'role % is missing and may not be created here', wanted;
        END;
    END LOOP;

    BEGIN
        -- What others put into public, the server could take for its own.
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    EXCEPTION
        WHEN insufficient_privilege THEN NULL; -- the server tells of it
    END;

    -- A PUBLIC privilege would let every role of the cluster append.
    REVOKE ALL ON FUNCTION append_events, create_events_month FROM PUBLIC;
    REVOKE ALL ON FUNCTION stub_fingerprint, subject_hash, unfinished_erasure, was_erased, begin_erasure, hold_log,
        erase_batch, finish_erasure, stale_statistics, forget_statistics FROM PUBLIC;
    REVOKE ALL ON FUNCTION keep_rebuilds_out, move_horizon, drop_events_month, stub_events, analyze_events_month, drop_sessions,
        drop_session_texts FROM PUBLIC;
    REVOKE ALL ON FUNCTION search_text, search_words, search_hash, search_mark, search_marks, search_vector, search_any, search_block,
        search_blocks, settle_search, hold_search FROM PUBLIC;
    REVOKE ALL ON FUNCTION check_times, interval_starts, histogram_bin, histogram_quantile, bucket_totals, bucket_histograms, metric_values,
        analytics.timeseries, analytics.stats, analytics.breakdown, analytics.funnel FROM PUBLIC;
    REVOKE ALL ON FUNCTION river_job_state_in_bitmask, hold_reaction FROM PUBLIC;
    -- Whoever looks around with a BI tool finds the schema analytics, and nothing else of ours.
    REVOKE ALL ON FUNCTION event_rank, count_text, grain_start, refuse_change, refuse_audit_change, guard_event, move_count,
        forget_words, outdate_archive, outdate_archive_month FROM PUBLIC;

    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rapport_server') THEN
        GRANT USAGE ON SCHEMA public TO rapport_server;
        GRANT SELECT ON events, log_head, settings, goose_db_version TO rapport_server;
        GRANT EXECUTE ON FUNCTION append_events, create_events_month, event_rank, count_text, grain_start TO rapport_server;
        GRANT SELECT, INSERT, UPDATE ON followers TO rapport_server;
        GRANT SELECT, INSERT, UPDATE, DELETE ON streams, stream_omissions TO rapport_server;
        GRANT SELECT, INSERT, UPDATE, DELETE ON quarantine, sessions, session_texts, superseded, dead_letters TO rapport_server;
        GRANT SELECT, INSERT, UPDATE, DELETE ON session_totals, event_counts TO rapport_server;
        GRANT SELECT, INSERT, UPDATE ON spools, quarantine_tally TO rapport_server;
        GRANT SELECT, INSERT, DELETE ON message_search TO rapport_server;
        GRANT EXECUTE ON FUNCTION search_text, search_words, search_hash, search_mark, search_marks, search_vector, search_any, search_block,
            search_blocks, settle_search TO rapport_server;
        GRANT SELECT, INSERT ON audit TO rapport_server;
        GRANT SELECT ON erasures, tombstones TO rapport_server;
        GRANT SELECT ON retention, dropped_months, stubbed_months, frozen_spans TO rapport_server;
        GRANT EXECUTE ON FUNCTION move_horizon, drop_events_month, stub_events, analyze_events_month, drop_sessions,
            drop_session_texts TO rapport_server;
        GRANT SELECT, INSERT, UPDATE, DELETE ON sources, source_secrets, source_tallies TO rapport_server;
        GRANT SELECT, INSERT, UPDATE (last_used_at, revoked_at) ON keys TO rapport_server;
        GRANT SELECT ON signin_secret TO rapport_server;
        GRANT SELECT, INSERT ON deliveries TO rapport_server;
        GRANT SELECT, INSERT, UPDATE, DELETE ON river_job, river_queue, river_leader TO rapport_server;
        GRANT USAGE ON SEQUENCE river_job_id_seq TO rapport_server;
        GRANT SELECT ON river_migration TO rapport_server;
        GRANT EXECUTE ON FUNCTION river_job_state_in_bitmask TO rapport_server;
        GRANT SELECT, UPDATE ON archive TO rapport_server;
        GRANT SELECT, INSERT, UPDATE, DELETE ON archive_blocks, archive_garbage, archive_due, archive_sessions TO rapport_server;
        GRANT SELECT, UPDATE ON reaction_state TO rapport_server;
        GRANT SELECT, INSERT, UPDATE, DELETE ON rule_counts, rule_throttles, told_sessions, due_conversations, alerts TO rapport_server;
        GRANT SELECT, INSERT, DELETE ON alert_changes TO rapport_server;
        GRANT USAGE ON SCHEMA analytics TO rapport_server;
        GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO rapport_server;
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA analytics TO rapport_server;
    END IF;

    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rapport_reader') THEN
        GRANT USAGE ON SCHEMA analytics TO rapport_reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO rapport_reader;
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA analytics TO rapport_reader;
        -- For `rapport db url`: these may see with the reader's eyes.
        FOREACH wanted IN ARRAY ARRAY[current_user::text, 'rapport_server'] LOOP
            CONTINUE WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted);
            CONTINUE WHEN pg_has_role(wanted, 'rapport_reader', 'MEMBER');
            BEGIN
                EXECUTE format('GRANT rapport_reader TO %I', wanted);
            EXCEPTION
                WHEN insufficient_privilege THEN
                    RAISE WARNING 'role % may not be made a member of rapport_reader here', wanted;
            END;
        END LOOP;
    END IF;

    -- Runs what others ask in SQL: a member of nothing, not even of rapport_reader, whose
    -- connections it could end.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rapport_sql') THEN
        GRANT USAGE ON SCHEMA analytics TO rapport_sql;
        GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO rapport_sql;
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA analytics TO rapport_sql;
    END IF;

    -- The server erases only where it has taken this role on: it is a member that
    -- inherits nothing.
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rapport_eraser') THEN
        GRANT USAGE ON SCHEMA public TO rapport_eraser;
        GRANT EXECUTE ON FUNCTION unfinished_erasure, was_erased, begin_erasure, hold_log, erase_batch, finish_erasure,
            stale_statistics, forget_statistics, hold_search TO rapport_eraser;
        GRANT EXECUTE ON FUNCTION hold_reaction TO rapport_eraser;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rapport_server')
           AND NOT pg_has_role('rapport_server', 'rapport_eraser', 'MEMBER') THEN
            BEGIN
                IF current_setting('server_version_num')::integer >= 160000 THEN
                    EXECUTE 'GRANT rapport_eraser TO rapport_server WITH INHERIT FALSE';
                ELSE
                    ALTER ROLE rapport_server NOINHERIT;
                    GRANT rapport_eraser TO rapport_server;
                END IF;
            EXCEPTION
                WHEN insufficient_privilege THEN
                    RAISE WARNING 'role rapport_server may not be made a member of rapport_eraser here: it can''t erase';
            END;
        END IF;
    END IF;
END $$;
